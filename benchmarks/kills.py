"""What SIGKILL leaves behind: `rlaif run` killed at random instants, again and again, before one run is let through.

    python -m benchmarks.kills [--kills 200] [--seed 0] [--trained]

A round begins with a new project. A few runs are started, and each is killed at a random instant between its start
and the processor time that an undisturbed run takes; then one is let through. Now the project must be that of the
undisturbed run: the same files (digests, `data.dvc`, store, one record for each asset; nothing left over), no lock
held, and nothing that `rlaif audit` finds. The first project that is otherwise ends it, with the difference.

Without `--trained` the project has recorded answers and verdicts, up to `ai_preferences` (no torch, seconds a run).
With it, every asset is made, by short training.
"""

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.projects import finish, make_recorded, make_trained, start_rlaif

_RUNS_A_ROUND = 5
_POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of project, and what is asked of it."""

    make: Callable[[Path], None]
    assets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """What a project is after one run that nobody killed.

    Attributes:
        seconds: Processor time of the run.
        description: See `describe_project`.
    """

    seconds: float
    description: Mapping[str, str]


TARGETS = {
    False: Target(make=make_recorded, assets=("ai_preferences",)),
    True: Target(make=make_trained, assets=()),
}


def run_and_kill(project: Path, assets: Sequence[str], *, after_seconds: float) -> bool:
    """Runs a project and kills it when it has computed for so long; False if it was done before.

    Raises:
        RuntimeError: If the run failed by itself.
    """
    process = start_rlaif(project, "run", *assets)
    while process.poll() is None:
        if read_processor_time(process.pid) >= after_seconds:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        time.sleep(_POLL_SECONDS)
    finish(process)
    return False


def read_processor_time(pid: int) -> float:
    """Seconds of processor time of a process that was not waited for, on Linux; a busy machine does not change them."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) gives


def describe_project(project: Path) -> dict[str, str]:
    """Every file by path, `data.dvc` with its text, the ledger as a number of records; no journals, nothing Dagster's.

    Objects of the store are named by their content, so their names say enough; whether the bytes are those is the
    audit's to say.
    """
    paths = [path.relative_to(project) for path in project.rglob("*") if not path.is_dir()]
    kept = (".dagster", "lineage", ".git", ".rlaif/journal")
    described = {str(path): "" for path in paths if not str(path).startswith(kept)}
    described["lineage"] = str(sum(path.parts[0] == "lineage" for path in paths))
    described["data.dvc"] = (project / "data.dvc").read_text()
    return described


def find_held_locks(project: Path) -> list[str]:
    """Names the lock files that some process holds."""
    held = []
    for path in [*project.rglob("*.lock"), project / ".dvc" / "tmp" / "lock"]:
        with path.open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(str(path.relative_to(project)))
    return held


def audit(project: Path) -> list[str]:
    """What `rlaif audit` finds, one line each."""
    process = start_rlaif(project, "audit", "--json")
    output, errors = process.communicate()
    if not output:
        raise RuntimeError(f"the audit did not run:\n{errors}")
    report = json.loads(output.splitlines()[-1])
    return [f"{one['kind']} {one['place']}: {one['found']}" for one in report["findings"]]


def run_undisturbed(folder: Path, target: Target) -> Undisturbed:
    """Makes a project by one run.

    Raises:
        RuntimeError: If the run fails.
    """
    target.make(folder)
    before = os.times()
    finish(start_rlaif(folder, "run", *target.assets))
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Undisturbed(seconds=seconds, description=describe_project(folder))


def run_round(
    folder: Path, target: Target, undisturbed: Undisturbed, *, chance: random.Random, num_runs: int
) -> int:
    """Makes a project by a number of runs to be killed and one that is not; returns how many were in fact killed.

    Raises:
        RuntimeError: If a run fails by itself, or the project is not what the undisturbed run made.
    """
    target.make(folder)
    num_kills = sum(
        run_and_kill(folder, target.assets, after_seconds=chance.uniform(0, undisturbed.seconds))
        for _ in range(num_runs)
    )
    finish(start_rlaif(folder, "run", *target.assets))
    described, expected = describe_project(folder), undisturbed.description
    problems = [
        f"{path}: {described.get(path, 'missing')!r} instead of {expected.get(path, 'nothing')!r}"
        for path in sorted(described.keys() | expected.keys())
        if described.get(path) != expected.get(path)
    ]
    problems += [f"{path}: the lock is held" for path in find_held_locks(folder)]
    problems += audit(folder)
    if problems:
        raise RuntimeError(f"{folder}, after {num_kills} kills:\n" + "\n".join(problems))
    return num_kills


def main() -> None:
    """Runs the benchmark, a line for each round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", action="store_true")
    arguments = parser.parse_args()
    target, chance = TARGETS[arguments.trained], random.Random(arguments.seed)  # noqa: S311 - instants, no secrets
    console = Console()
    work = Path(tempfile.mkdtemp(prefix="rlaif-kills-"))  # stays if a round fails, to be looked into
    undisturbed = run_undisturbed(work / "undisturbed", target)
    console.print(f"undisturbed: {undisturbed.seconds:.1f} s computing, {len(undisturbed.description)} files")
    num_kills = num_rounds = 0
    while num_kills < arguments.kills:
        num_rounds += 1
        folder = work / f"round-{num_rounds}"
        num_kills += run_round(folder, target, undisturbed, chance=chance, num_runs=_RUNS_A_ROUND)
        console.print(f"{num_kills} kills in {num_rounds} rounds")
        shutil.rmtree(folder)
    shutil.rmtree(work)
    console.print(
        f"{num_kills} kills in {num_rounds} rounds: every round completed, with the files of the undisturbed run, "
        "nothing left over, and nothing that the audit finds"
    )


if __name__ == "__main__":
    main()
