"""Shows that one plain `pip install` of the wheel works, with the newest and the lowest versions that it allows.

Each install is a virtual environment of its own, without the lock: torch first, in the lock's version (which build it
is depends on the index), then the wheel. Then it runs the commands of a new user.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement

REPOSITORY: Final = Path(__file__).parent.parent
SMALL_TEST: Final = "tests/acceptance/test_plain_install.py::test_a_new_user_samples_responses"
SHOWN: Final = ("torch", "transformers", "trl", "dagster", "dvc", "antlr4-python3-runtime")
SELECTIONS: Final = (
    "*",
    "*sampled_responses",
    "prompts+",
    "++ai_preferences+",
    'key:"judge*" and not group:"default"',
    'kind:"parquet" or (tag:"a"="b" and +key:"prompts")',
    "sinks(*)",
    'roots(key:"a")',
    "key:judge and",
)
"""Texts of Dagster's selection language, the last one wrong."""
_READ_SELECTIONS: Final = """
import json, sys, warnings
warnings.simplefilter("ignore")
from rlaif_dagster.defs.text_selections import allow_text_selections
allow_text_selections()
from dagster import AssetSelection
from dagster._core.definitions.asset_selection import DagsterInvalidAssetSelectionError
read = []
for text in json.loads(sys.argv[1]):
    try:
        read.append(repr(AssetSelection.from_string(text)))
    except DagsterInvalidAssetSelectionError:
        read.append("invalid")
print(json.dumps(read))
"""
_USE_HYDRA: Final = """
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
print(OmegaConf.create({"a": 1, "b": "${a}"}).b, OverridesParser.create().parse_override("a.b=[1]").value())
"""


class InstallFailedError(Exception):
    """pip, or a command of the installed package, failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainInstall:
    """A virtual environment into which the wheel was installed.

    Attributes:
        folder: The environment.
        seconds: How long pip took.
    """

    folder: Path
    seconds: float

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        """Runs a program of the environment, out of sight of this repository; returns its standard output.

        Raises:
            InstallFailedError: If it fails.
        """
        return _run(
            str(self.folder / "bin" / program), *arguments, cwd=cwd or self.folder, hide=("PYTHONPATH",)
        )

    def find_version(self, library: str) -> str:
        """The installed version of a library."""
        code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        return self.run("python", "-c", code, library).strip()

    def use_hydra(self) -> str:
        """What omegaconf and hydra, of the same antlr4, make of a text."""
        return self.run("python", "-c", _USE_HYDRA).strip()

    def read_selections(self) -> list[str]:
        """What Dagster makes there of `SELECTIONS`."""
        return list(json.loads(self.run("python", "-c", _READ_SELECTIONS, json.dumps(SELECTIONS))))


def read_selections_here() -> list[str]:
    """What Dagster makes of `SELECTIONS` in this environment."""
    return list(json.loads(_run(sys.executable, "-c", _READ_SELECTIONS, json.dumps(SELECTIONS))))


def is_index_reachable() -> bool:
    """Whether pip can find a distribution in its index."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", folder]
        patience = ["--retries", "1", "--timeout", "20"]
        asked = [sys.executable, "-m", *command, *patience, "iniconfig"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def list_lowest() -> list[str]:
    """The lowest allowed version of each direct dependency, as lines of a constraints file."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements = [Requirement(text) for text in project["dependencies"]]
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">=" and requirement.name != "torch"
    ]


def install(folder: Path, *, versions: Literal["newest", "lowest"] = "newest") -> PlainInstall:
    """Builds the wheel and installs it into a new environment.

    Args:
        folder: A folder of the caller's, for the environment and the wheel.
        versions: Which of the versions in the ranges of `pyproject.toml` pip takes.

    Raises:
        InstallFailedError: If pip fails.
    """
    wheels, environment = folder / "wheels", folder / versions
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    _run(sys.executable, "-m", "pip", *build, str(REPOSITORY))
    (wheel,) = wheels.glob("*.whl")
    limits = folder / "lowest.txt"
    limits.write_text("".join(f"{line}\n" for line in list_lowest()))
    limited = ["--constraint", str(limits)] if versions == "lowest" else []
    started = time.monotonic()
    _run(sys.executable, "-m", "venv", str(environment))
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    _run(*pip, _find_pin("torch"))
    _run(*pip, *limited, str(wheel))
    return PlainInstall(folder=environment, seconds=time.monotonic() - started)


def try_commands(installed: PlainInstall, project: Path, assets: Sequence[str]) -> dict[str, str]:
    """Makes a project and runs assets in it, as a new user does; returns a row of a table.

    Raises:
        InstallFailedError: If a command fails.
    """
    installed.run("rlaif", "init", str(project))
    installed.run("rlaif", "doctor", "--project", str(project))
    started = time.monotonic()
    output = installed.run("rlaif", "run", *assets, "--json", "--project", str(project))
    seconds = time.monotonic() - started
    statuses = [asset["status"] for asset in json.loads(output.splitlines()[-1])["assets"].values()]
    arguments = ["--select", "*sampled_responses", "-m", "rlaif_dagster.definitions"]
    installed.run("dagster", "asset", "materialize", *arguments, cwd=project)
    return {
        **{name: installed.find_version(name) for name in SHOWN},
        "init": "ok",
        "doctor": "ok",
        "run": f"{len(statuses)} assets {' and '.join(sorted(set(statuses)))}",
        "dagster --select": "ok",
        "seconds to install": f"{installed.seconds:.0f}",
        "seconds to run": f"{seconds:.0f}",
    }


def prove() -> list[dict[str, str]]:
    """Installs with the newest and with the lowest versions, and runs the whole default project in each.

    Raises:
        InstallFailedError: If one of them does not work.
    """
    rows = []
    for versions in ("newest", "lowest"):
        with tempfile.TemporaryDirectory() as folder:
            installed = install(Path(folder), versions=versions)
            rows.append({"versions": versions, **try_commands(installed, Path(folder) / "project", [])})
    return rows


def _find_pin(name: str) -> str:
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def _run(*command: str, cwd: Path | None = None, hide: Sequence[str] = ()) -> str:
    hidden = {"DAGSTER_HOME", "RLAIF_PROJECT", *hide}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        told = f"{done.stdout[-1000:]}{done.stderr[-3000:]}"
        raise InstallFailedError(f"{' '.join(command)}: exit code {done.returncode}\n{told}")
    return done.stdout
