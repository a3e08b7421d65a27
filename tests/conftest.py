"""Projects for tests that need a whole one."""

import importlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.cli.main import main
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.store import init_store
from tests.warm import run_warm

if TYPE_CHECKING:
    import torch

# Examples are the same in every run, and a busy machine is no failure. `make check` takes fewer of them.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("project"), max_examples=20)
settings.load_profile("project")

# absl, which some libraries import, closes the stream that it found as sys.stderr once anybody configures logging:
# that would be pytest's own. It leaves this one open.
importlib.import_module("absl.logging").get_absl_handler().python_handler.stream = sys.__stderr__

# A shell has its background jobs ignore Ctrl-C, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "tests/acceptance/test_default_run.py",
    "tests/acceptance/test_ui.py",
    "tests/acceptance/test_plain_install.py",
    "tests/acceptance/test_recorded.py",
    "tests/lineage/test_every_field.py",
    "tests/serving/test_project.py",
    "tests/rounds/test_trained.py",
    "tests/rounds/test_unrolled.py",
    "tests/graph/test_evaluation_rows.py",
    "tests/training/test_launch.py",
    "tests/training/test_methods.py",
    "tests/cli/test_stopping.py",
    "tests/cli/test_progress.py",
    "tests/docs/test_commands.py",
    "tests/acceptance/test_determinism.py",
    "tests/lineage/test_sharing.py",
    "tests/lineage/test_kills.py",
)
"""The files that take longest, roughly the slowest first."""
WHOLE = "--whole"
"""Option of `make prove PART=whole`: runs the tests that ask for `whole`, at the size of which they are a part."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(WHOLE, action="store_true", help="run the tests that are cut down, at their whole size")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Starts the longest files first, so that no worker is left alone with one in the end."""
    if config.getoption(WHOLE):
        items[:] = [item for item in items if "whole" in getattr(item, "fixturenames", ())]
    places = {REPOSITORY / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether a test is run at its whole size, in `make prove PART=whole`, and not at its smallest."""
    return bool(request.config.getoption(WHOLE))


REPOSITORY = Path(__file__).parent.parent
SMALL: dict[str, Any] = {
    "sampling": {"provider": "local", "num_samples": 4, "max_new_tokens": 64},
    "pairing": {"max_pairs_per_prompt": 2},
    "reward_model": {"learning_rate": 1e-3, "num_epochs": 3.0, "batch_size": 16},
    "policy": {"method": "dpo", "learning_rate": 3e-4, "checkpoint_steps": 5, "checkpoint_prompts": 8},
    "evaluation": {"num_samples": 1, "ground_truth": "embedded_world"},
    "release": {"require": []},
}
"""Sections of `pipeline.yaml` for a run that trains for seconds; its policy is not meant to be good."""


def edit_yaml(file: Path, change: Callable[[Any], None]) -> None:
    """Changes what a YAML file says."""
    value = yaml.safe_load(file.read_text())
    change(value)
    file.write_text(yaml.safe_dump(value, sort_keys=False))


def run_rlaif(
    *arguments: str, project: Path, check: bool = True, cold: bool = False, import_times: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs the `rlaif` command on a project in a process of its own.

    Args:
        arguments: What is typed after `rlaif`.
        project: The project's folder.
        check: Whether the command must succeed.
        cold: Whether the interpreter is started anew, where imports and the start belong to the law.
        import_times: Whether the error stream tells what is imported; cold.

    Raises:
        CalledProcessError: If the command fails, and must not.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "RLAIF_PROJECT")}
    arguments = (*arguments, "--project", str(project))
    if cold or import_times:
        how = ["-X", "importtime"] if import_times else []
        done = subprocess.run(
            [sys.executable, *how, "-m", "rlaif_dagster.cli.main", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    else:
        done = run_warm(arguments, folder=Path.cwd(), environment=environment)
    if check:
        done.check_returncode()
    return done


def call_rlaif(*arguments: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Runs the `rlaif` command on a project in this process, where a process of its own is not the point."""
    command = ["rlaif", *arguments, "--project", str(project)]
    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", command)
        for name in ("DAGSTER_HOME", "RLAIF_PROJECT"):
            patch.delenv(name, raising=False)
        try:
            main()
        except SystemExit as ending:
            code = ending.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())


def run_assets(*assets: str, project: Path, cold: bool = False) -> dict[str, dict[str, Any]]:
    """Runs `rlaif run --json`; returns what it says of each asset."""
    done = run_rlaif("run", *assets, "--json", project=project, check=False, cold=cold)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["assets"]
    return result


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project: a store and a ledger, nothing in them."""
    init_store(tmp_path)
    return Project.open(tmp_path)


@pytest.fixture
def default_project(tmp_path: Path) -> Path:
    """A new project with the default inputs, nothing materialised."""
    folder = tmp_path / "project"
    init_command(folder)
    return folder


def make_small(project: Path) -> None:
    """Cuts a new project down to 100 prompts and seconds of training."""
    edit_yaml(project / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(SMALL))
    prompts = project / "inputs" / "prompts.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:100]))


@pytest.fixture
def small_project(default_project: Path) -> Path:
    """A new small project, nothing materialised."""
    make_small(default_project)
    return default_project


@pytest.fixture(scope="session")
def device() -> "torch.device":
    """The processor, with one thread."""
    from rlaif_dagster.numerics import prepare_torch

    return prepare_torch(num_threads=1, device="cpu")


@pytest.fixture(scope="session")
def policy_path(device: "torch.device", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy with random weights."""
    from tests.training.tiny_models import write_tiny_policy

    folder = tmp_path_factory.mktemp("models") / "policy"
    write_tiny_policy(folder)
    return folder
