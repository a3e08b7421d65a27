"""Runs at work on a project: each holds a lock of its own, which the system takes from it when its process ends."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.scratch import held_lock, raising_storage_errors, remove_leftovers


@contextmanager
def hold_run(project: Project, run_id: str) -> Iterator[None]:
    """Says that a run is at work, for as long as this process is inside.

    Raises:
        StorageError: If the lock cannot be made.
    """
    folder = _lock_folder(project)
    path = folder / f"{run_id}-{os.getpid()}.lock"
    with ExitStack() as stack:
        with raising_storage_errors(folder):
            remove_leftovers(folder)
            stack.enter_context(held_lock(path))
        stack.callback(path.unlink, missing_ok=True)
        yield


def find_running(project: Project) -> tuple[str, ...]:
    """The ids of the runs that are at work; locks of dead processes do not count, and are removed.

    Raises:
        StorageError: If the locks cannot be looked at.
    """
    folder = _lock_folder(project)
    with raising_storage_errors(folder):
        remove_leftovers(folder)
        return tuple(sorted(path.stem.rpartition("-")[0] for path in folder.glob("*.lock")))


def _lock_folder(project: Project) -> Path:
    return project.scratch / "locks" / "runs"
