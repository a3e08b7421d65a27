"""Tracks runs in progress, and commands that, like runs, need stored versions to stay.

Each one holds its own lock, which the system releases when the process ends. The lock's file stays after a process was
killed, until Dagster has been told that the run is over.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.removal import remove_file
from rlaif_dagster.versioning.scratch import held_lock, raising_storage_errors, tried_lock

_RUN_LOCK = re.compile(r".+-\d+\.lock")


@contextmanager
def hold_run(project: Project, run_id: str) -> Iterator[None]:
    """Marks a run as in progress while the context lasts: nothing is pruned, and automation waits.

    Args:
        project: The project.
        run_id: The run's id, or the name of a command.

    Raises:
        StorageError: If the lock cannot be made.
    """
    folder = _lock_folder(project)
    path = folder / f"{run_id}-{os.getpid()}.lock"
    with ExitStack() as stack:
        with raising_storage_errors(folder), no_run_starts(project):
            stack.enter_context(held_lock(path))
        stack.callback(remove_file, path)
        yield


@contextmanager
def no_run_starts(project: Project) -> Iterator[None]:
    """Prevents runs from starting while the context lasts."""
    with held_lock(project.scratch / "locks" / "start.lock"):
        yield


def find_running(project: Project) -> tuple[str, ...]:
    """Lists the ids of the runs in progress; locks of dead processes do not count.

    Raises:
        StorageError: If the locks cannot be read.
    """
    running = set()
    with raising_storage_errors(_lock_folder(project)):
        for path in _list_locks(project):
            with tried_lock(path) as is_free:
                if not is_free:
                    running.add(_read_run(path))
    return tuple(sorted(running))


def has_unburied_runs(project: Project) -> bool:
    """Says whether runs are in progress, or died without Dagster knowing it."""
    return bool(_list_locks(project))


def bury_dead_runs(project: Project, report: Callable[[str], None]) -> None:
    """Reports the ids of runs whose processes died, and removes their locks.

    Raises:
        StorageError: If the locks cannot be read.
    """
    alive = find_running(project)
    with raising_storage_errors(_lock_folder(project)):
        for path in _list_locks(project):
            with tried_lock(path) as is_free:
                if is_free and not _is_alive(int(path.stem.rpartition("-")[2])):
                    if _read_run(path) not in alive:
                        report(_read_run(path))
                    remove_file(path)


def _list_locks(project: Project) -> list[Path]:
    """Lists the locks made by `hold_run`."""
    return sorted(path for path in _lock_folder(project).glob("*.lock") if _RUN_LOCK.fullmatch(path.name))


def _read_run(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def _is_alive(pid: int) -> bool:
    """Says whether a process exists; this includes one that is about to take its lock."""
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _lock_folder(project: Project) -> Path:
    return project.scratch / "locks" / "runs"
