"""Small changes (mutants) of the critical modules are noticed by the tests of the module's own package.

mutmut changes one thing at a time (a comparison, a number, an argument, a condition) and runs the tests that reach the
changed function. A mutant is *killed* if a test fails or does not end in time. One that no test can notice is listed
in equivalent_mutants.toml, with the reason. What is left is a law that has no test.

mutmut is not in the lock: `.venv/bin/pip install 'mutmut>=3.8'`. All modules take hours. Some of them:
`make prove PART=mutants MODULES="stats/intervals training/kl"`; the rows of the others stay as they are.

Known trade-offs (accepted): mutmut does not change properties and other decorated functions, constants outside
functions, and f-strings. Changes of wording (case, or letters around a text with a blank in it) do not count.
"""

import ast
import difflib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proofs.__main__ import PAGE, REPOSITORY, describe_commit

SMALL_TEST: Final = "tests/acceptance/test_mutants.py::test_the_tests_of_a_module_notice_its_mutants"
EQUIVALENT_FILE: Final = Path(__file__).parent / "equivalent_mutants.toml"
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "stats/intervals": ("tests/stats",),
    "preferences": ("tests/test_preferences.py",),
    "training/losses": ("tests/training/test_losses.py",),
    "training/kl": ("tests/training/test_kl.py",),
    "judging/reading": ("tests/judging/test_reading.py",),
    "judging/pairs": ("tests/judging/test_pairs.py",),
    "judging/questions": ("tests/judging/test_asking.py", "tests/judging/test_jury.py"),
    "judging/served": ("tests/judging/test_served.py",),
    "serving/exchange": (
        "tests/serving/test_engine.py",
        "tests/serving/test_replies.py",
        "tests/judging/test_served.py",
    ),
    "serving/replies": ("tests/serving/test_replies.py",),
    "serving/problems": ("tests/serving/test_replies.py",),
    "serving/faults": ("tests/serving/test_replies.py",),
    "evaluation/win_rate": ("tests/evaluation/test_win_rate.py", "tests/evaluation/test_refusals.py"),
    "evaluation/length_control": (
        "tests/evaluation/test_length_control.py",
        "tests/evaluation/test_length_bias.py",
    ),
    "rounds/choice": ("tests/rounds/test_choice.py",),
    "rounds/plateau": ("tests/rounds/test_plateau.py",),
    "graph/release": ("tests/graph/test_release.py",),
    "graph/upgrades": ("tests/graph/test_upgrades.py",),
    "lineage/gates": ("tests/lineage/test_gates.py",),
    "lineage/plan": ("tests/lineage/test_plan.py", "tests/lineage/test_changes.py"),
    "lineage/reuse": (
        "tests/lineage/test_reuse.py",
        "tests/lineage/test_row_reuse.py",
        "tests/lineage/test_faults.py",
        "tests/lineage/test_gates.py",
    ),
    "lineage/upgrades": ("tests/lineage/test_upgrades.py",),
    "lineage/ledger": (
        "tests/lineage/test_ledger.py",
        "tests/lineage/test_ledger_index.py",
        "tests/lineage/test_merging.py",
        "tests/lineage/test_faults.py",
    ),
    "lineage/collecting/collect": ("tests/lineage/test_gc.py",),
    "lineage/collecting/keep": ("tests/lineage/test_gc.py",),
    "lineage/collecting/notes": ("tests/lineage/test_gc.py",),
    "versioning/store": ("tests/versioning",),
}
"""The modules that decide, and the tests of their own packages."""
_QUICK: Final = """
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
"""
"""The tests' own profile without shrinking: it only matters whether a test fails."""
_PYTEST: Final = (
    "-p",
    "no:hydra_pytest",
    "-p",
    "quick_mutants",
    "--hypothesis-profile",
    "mutants",
    "-p",
    "no:cacheprovider",
)
_UNDECIDED: Final = frozenset({0, 5, 33})
"""Exit codes of a mutant that no test noticed: all passed, or none reaches it (5 and 33)."""
_MUTANT_NAME: Final = re.compile(r"x(?:_|ǁ(?P<owner>\w+)ǁ)(?P<name>\w+)__mutmut_(?P<number>\d+|orig)")
_SPINNER: Final = re.compile(r"[\u2800-\u28ff] |$")
_RUN_MUTMUT: Final = "import mutmut.__main__; mutmut.__main__.cli()"


class MutationError(Exception):
    """mutmut could not be run, or the list of equivalent mutants is not true any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One small change of a function.

    Attributes:
        function: The changed function; a method with its class: `Ledger.append`.
        line: What is replaced, without indentation.
        becomes: What stands there instead.
        is_wording: Whether only the wording of a message changes.
        is_killed: Whether a test noticed.
    """

    function: str
    line: str
    becomes: str
    is_wording: bool
    is_killed: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """By what the list of equivalent mutants names it."""
        return self.function, self.line, self.becomes

    def __str__(self) -> str:
        lines = [
            *(f"- {line}" for line in self.line.splitlines()),
            *(f"+ {line}" for line in self.becomes.splitlines()),
        ]
        return "\n    ".join([f"  {self.function}", *lines])


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantsResult:
    """What became of a module's mutants; wording is left out.

    Attributes:
        killed: Noticed by a test.
        equivalent: Listed as such.
        left: Neither.
        seconds: How long it took.
    """

    killed: tuple[Mutant, ...]
    equivalent: tuple[Mutant, ...]
    left: tuple[Mutant, ...]
    seconds: float

    @property
    def share_killed(self) -> float:
        """Share of killed mutants among those that are not equivalent; 1 where there is none."""
        num_possible = len(self.killed) + len(self.left)
        return len(self.killed) / num_possible if num_possible else 1.0


def copy_tracked_files(folder: Path) -> None:
    """Copies what git tracks, as it is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (source := REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)


def run_mutmut(folder: Path, module: str, tests: Sequence[str]) -> list[Mutant]:
    """Runs the mutants of one module.

    Args:
        folder: A copy of the repository; it may be written.
        module: The module's file in it.
        tests: What pytest is given.

    Raises:
        MutationError: If mutmut is not installed, the tests fail without a mutant, or mutmut stops.
    """
    if importlib.util.find_spec("mutmut") is None:
        raise MutationError("mutmut is not installed: .venv/bin/pip install 'mutmut>=3.8'")
    work = folder / "mutants"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()  # Python forgets an entry of its path that is not there when it starts
    package = module.split("/", maxsplit=1)[0]
    (folder / "quick_mutants.py").write_text(_QUICK)
    others = sorted(
        path.name for path in folder.iterdir() if path.name not in {package, "mutants", "setup.cfg"}
    )
    settings = {
        "source_paths": package,
        "only_mutate": module,
        "also_copy": "".join(f"\n    {name}" for name in others),
        "pytest_add_cli_args_test_selection": "".join(f"\n    {name}" for name in tests),
        "pytest_add_cli_args": "".join(f"\n    {argument}" for argument in _PYTEST),
        "timeout_constant": "2",
    }
    lines = [f"{name} = {value}\n" for name, value in settings.items()]
    (folder / "setup.cfg").write_text(f"[mutmut]\n{''.join(lines)}")
    environment = {**os.environ, "PYTHONPATH": str(work), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", _RUN_MUTMUT, "run", "--max-children", str(len(os.sched_getaffinity(0)))]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    meta = work / f"{module}.meta"
    if done.returncode or not meta.exists():
        said = [line for line in done.stdout.splitlines() if not _SPINNER.match(line)]
        raise MutationError("\n".join([f"{module}: mutmut stopped", *said[-50:], done.stderr[-3000:]]))
    exit_codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return list(_read_mutants((work / module).read_text(), exit_codes))


def _read_mutants(code: str, exit_codes: dict[str, int | None]) -> Iterable[Mutant]:
    lines = code.splitlines()
    found = {
        node.name: node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    def read(name: str) -> list[str]:
        node = found[name]
        return [line.strip().replace(name, "") for line in lines[node.lineno - 1 : node.end_lineno]]

    for key, exit_code in exit_codes.items():
        name = key.rpartition(".")[2]
        original = f"{name.rpartition('__mutmut_')[0]}__mutmut_orig"
        match = _MUTANT_NAME.fullmatch(name)
        if match is None or exit_code is None:
            raise MutationError(f"{key}: exit code {exit_code}; mutmut did not finish, or names mutants anew")
        changes = [line for line in difflib.ndiff(read(original), read(name)) if line[0] in "-+"]
        yield Mutant(
            function=".".join(filter(None, (match["owner"], match["name"]))),
            line="\n".join(line[2:] for line in changes if line[0] == "-"),
            becomes="\n".join(line[2:] for line in changes if line[0] == "+"),
            is_wording=_ignore_wording(found[original]) == _ignore_wording(found[name]),
            is_killed=exit_code not in _UNDECIDED,
        )


class _WordingIgnored(ast.NodeTransformer):
    """Takes the letters' case, and mutmut's XX, out of texts that have a blank."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str) and " " in node.value:
            return ast.Constant(node.value.casefold().replace("xx", ""))
        return node


def _ignore_wording(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Compares equal for functions that differ in wording alone."""
    body = [ast.dump(_WordingIgnored().visit(node)) for node in function.body]
    return "\n".join([ast.dump(function.args), *body])


def read_equivalent(module: str) -> dict[tuple[str, str, str], str]:
    """The mutants of a module that are listed as equivalent, with their reasons.

    Returns:
        The reason by function, replaced line and what stands there instead.

    Raises:
        MutationError: If an entry gives no reason.
    """
    listed: list[dict[str, Any]] = tomllib.loads(EQUIVALENT_FILE.read_text()).get("mutant", [])
    reasons: dict[tuple[str, str, str], str] = {}
    for entry in listed:
        if not entry["reason"].strip():
            raise MutationError(
                f"{EQUIVALENT_FILE.name}: {entry} gives no reason: say why no test can notice it"
            )
        if entry["module"] == module:
            reasons |= {(entry["function"], line, text): entry["reason"] for line, text in entry["changes"]}
    return reasons


def judge_mutants(
    mutants: Sequence[Mutant], equivalent: Iterable[tuple[str, str, str]], seconds: float
) -> MutantsResult:
    """Sorts mutants into killed, equivalent and left.

    Args:
        mutants: All mutants of a module.
        equivalent: Which are listed, by function, line and what it becomes.
        seconds: How long it took to run them.

    Raises:
        MutationError: If one is listed that is not there, or that a test notices.
    """
    counted = [mutant for mutant in mutants if not mutant.is_wording]
    survivors = [mutant for mutant in counted if not mutant.is_killed]
    listed = set(equivalent)
    for function, line, becomes in sorted(listed - {mutant.key for mutant in survivors}):
        raise MutationError(
            f"{EQUIVALENT_FILE.name} lists {line!r} -> {becomes!r} in {function}: no such mutant survives; "
            "a test notices it, or the code changed: remove the entry"
        )
    return MutantsResult(
        killed=tuple(mutant for mutant in counted if mutant.is_killed),
        equivalent=tuple(mutant for mutant in survivors if mutant.key in listed),
        left=tuple(mutant for mutant in survivors if mutant.key not in listed),
        seconds=seconds,
    )


def measure(folder: Path, name: str) -> MutantsResult:
    """Runs and judges the mutants of one of `MODULES`, in a copy of the repository.

    Raises:
        MutationError: If mutmut cannot be run, or an entry of the list of equivalent mutants is not true any more.
    """
    started = time.monotonic()
    mutants = run_mutmut(folder, f"rlaif_dagster/{name}.py", MODULES[name])
    return judge_mutants(mutants, read_equivalent(name), time.monotonic() - started)


def read_rows(page: str) -> dict[str, dict[str, str]]:
    """The rows of this part's table on a page, by module."""
    section = re.search(r"<!-- part: mutants -->\n(.*?)<!-- end -->", page, re.DOTALL)
    lines = re.findall(r"^\| (.*) \|$", section[1] if section else "", re.MULTILINE)
    header, _, *rows = [line.split(" | ") for line in lines] or [[], []]
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def prove() -> list[dict[str, str]]:
    """Runs the modules that `MODULES` in the environment names, or all; keeps the rows of the others.

    Raises:
        MutationError: If a module is unknown, mutmut cannot be run, or the list of equivalent mutants is not true any
            more.
    """
    names = os.environ.get("MODULES", "").split() or list(MODULES)
    if unknown := sorted(set(names) - set(MODULES)):
        raise MutationError(f"there is no module {unknown[0]!r}: name some of {', '.join(MODULES)}")
    rows, commit = read_rows(PAGE.read_text()), describe_commit()
    with tempfile.TemporaryDirectory(prefix="rlaif-mutants-") as folder:
        copy_tracked_files(Path(folder))
        for name in names:
            result = measure(Path(folder), name)
            rows[name] = _format_row(name, result, commit)
            print(f"{name}: {len(result.left)} left", *result.left, sep="\n", flush=True)
    return [rows[name] for name in MODULES if name in rows]


def _format_row(name: str, result: MutantsResult, commit: str) -> dict[str, str]:
    num_mutants = len(result.killed) + len(result.equivalent) + len(result.left)
    return {
        "module": name,
        "mutants": str(num_mutants),
        "killed": str(len(result.killed)),
        "equivalent": str(len(result.equivalent)),
        "left": str(len(result.left)),
        "killed of all": f"{len(result.killed) / num_mutants:.1%}",
        "killed of those that are not equivalent": f"{result.share_killed:.1%}",
        "seconds": f"{result.seconds:.0f}",
        "commit": commit,
    }
