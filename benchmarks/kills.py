"""What SIGKILL leaves behind: `rlaif run` killed at random instants, again and again, before one run is let through.

    python -m benchmarks.kills [--kills 200] [--seed 0] [--trained] [--work FOLDER]

A round begins with a new project. A few runs are started, and each is killed at a random instant between its start
and the processor time that an undisturbed run takes; then one is let through. Now the project must be that of the
undisturbed run: the same files (digests, `data.dvc`, store, one record for each asset; nothing left over), no lock
held, nothing that `rlaif audit` finds, and no run that Dagster shows as still at work. The first project that is
otherwise ends it, with the difference.

With `--work` the rounds are counted in that folder, so that the benchmark can be stopped at any time, and goes on from
there when it is called again.

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
from dataclasses import asdict, dataclass
from pathlib import Path

from dagster import DagsterInstance
from rich.console import Console

from benchmarks.projects import finish, make_recorded, make_trained, start_rlaif

_POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of project, what is asked of it, and how many runs of a round are to be killed."""

    make: Callable[[Path], None]
    assets: tuple[str, ...]
    num_runs: int


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
    False: Target(make=make_recorded, assets=("ai_preferences",), num_runs=5),
    True: Target(make=make_trained, assets=(), num_runs=3),
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


def find_open_runs(project: Path) -> list[str]:
    """The runs that Dagster shows as still at work, or about to be."""
    with DagsterInstance.from_config(str(project / ".dagster")) as instance:
        return [
            f"run {run.run_id} is {run.status.value}" for run in instance.get_runs() if not run.is_finished
        ]


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


def run_round(folder: Path, target: Target, undisturbed: Undisturbed, *, chance: random.Random) -> int:
    """Makes a project by a number of runs to be killed and one that is not; returns how many were in fact killed.

    Raises:
        RuntimeError: If a run fails by itself, or the project is not what the undisturbed run made.
    """
    target.make(folder)
    num_kills = sum(
        run_and_kill(folder, target.assets, after_seconds=chance.uniform(0, undisturbed.seconds))
        for _ in range(target.num_runs)
    )
    finish(start_rlaif(folder, "run", *target.assets))
    described, expected = describe_project(folder), undisturbed.description
    problems = [
        f"{path}: {described.get(path, 'missing')!r} instead of {expected.get(path, 'nothing')!r}"
        for path in sorted(described.keys() | expected.keys())
        if described.get(path) != expected.get(path)
    ]
    problems += [f"{path}: the lock is held" for path in find_held_locks(folder)]
    problems += audit(folder) + find_open_runs(folder)
    if problems:
        raise RuntimeError(f"{folder}, after {num_kills} kills:\n" + "\n".join(problems))
    return num_kills


def load_undisturbed(work: Path, target: Target) -> Undisturbed:
    """What one run that nobody kills makes; it is run once for a work folder."""
    file = work / "undisturbed.json"
    if not file.exists():
        shutil.rmtree(work / "undisturbed", ignore_errors=True)
        found = run_undisturbed(work / "undisturbed", target)
        file.write_text(json.dumps(asdict(found)))
    return Undisturbed(**json.loads(file.read_text()))


def main() -> None:
    """Runs the benchmark, a line for each round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    target, console = TARGETS[arguments.trained], Console()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="rlaif-kills-"))  # stays if a round fails
    work = (work / ("trained" if arguments.trained else "recorded")).absolute()
    work.mkdir(parents=True, exist_ok=True)
    undisturbed = load_undisturbed(work, target)
    console.print(f"undisturbed: {undisturbed.seconds:.1f} s computing, {len(undisturbed.description)} files")
    log = work / "kills.txt"  # a line for each round: how many runs were killed
    kills = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
    while sum(kills) < arguments.kills:
        folder = work / "round"
        shutil.rmtree(folder, ignore_errors=True)
        chance = random.Random(f"{arguments.seed} {len(kills)}")  # noqa: S311 - instants, no secrets
        started = time.monotonic()
        kills.append(run_round(folder, target, undisturbed, chance=chance))
        log.write_text("".join(f"{number}\n" for number in kills))
        seconds = time.monotonic() - started
        console.print(f"{sum(kills)} kills in {len(kills)} rounds (this one: {seconds:.0f} s)")
    console.print(
        f"{sum(kills)} kills in {len(kills)} rounds: every round completed, with the files of the undisturbed run, "
        "nothing left over, and nothing that the audit finds"
    )
    if arguments.work is None:
        shutil.rmtree(work.parent)


if __name__ == "__main__":
    main()
