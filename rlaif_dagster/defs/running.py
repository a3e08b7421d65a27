"""Runs at work on a project: each holds a lock of its own, which the system takes from it when its process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.project import Project

_SUFFIX = ".lock"


@contextmanager
def hold_run(project: Project, run_id: str) -> Iterator[None]:
    """Says that a run is at work, for as long as this process is inside.

    Raises:
        StorageError: If the lock cannot be made.
    """
    folder = _lock_folder(project)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{run_id}.{os.getpid()}{_SUFFIX}").acquire()
    except OSError as error:
        raise StorageError(
            f"{folder}: the run cannot be announced ({error.strerror or error}).\n"
            "  remedy: free disk space or mend the permissions, then run again"
        ) from error
    with lock:
        yield


def find_running(project: Project) -> tuple[str, ...]:
    """The ids of the runs that are at work; what dead processes left is removed."""
    running = set()
    for path in _lock_folder(project).glob(f"*{_SUFFIX}"):
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            running.add(path.name.partition(".")[0])
    return tuple(sorted(running))


def _lock_folder(project: Project) -> Path:
    return project.scratch / "locks" / "runs"
