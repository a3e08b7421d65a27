"""Restart points: from where a training that was killed goes on, to the same weights."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from rlaif_dagster.removal import refuse_links, remove_folder

_WHOLE: Final = "whole"
"""An empty file in a restart point that was written to its end."""

_NAME: Final = re.compile(r"[0-9a-f]{12}")
"""How the folder of a training is named: by a short digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """From where a training that was killed goes on, to the same weights.

    Attributes:
        folder: A folder of this training alone, which outlives a crash, named by 12 hex digits. It is removed when
            training has ended.
        every_steps: Optimiser steps from one restart point to the next.
        held: If True, another process holds the folder for this one, and removes it.
    """

    folder: Path
    every_steps: int
    held: bool = False


@contextmanager
def hold_workspace(scratch: Path, restart: Restart | None = None) -> Iterator[Path]:
    """The folder that a training writes to: a temporary one inside `scratch`, or that of its restart points.

    When training has ended, the restart points are removed, and with them those of other trainings of this asset that
    nobody is at work on.

    Raises:
        StorageError: If the folder of the restart points, or a folder of the project that it lies in, is a link.
    """
    if restart is None:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="trainer-") as folder:
            yield Path(folder)
        return
    if restart.held:
        yield restart.folder
        return
    refuse_links(restart.folder)
    restart.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_of(restart.folder)):
        restart.folder.mkdir(exist_ok=True)
        yield restart.folder
        remove_folder(restart.folder)
    for other in restart.folder.parent.iterdir():
        if _NAME.fullmatch(other.name) and other.is_dir() and not other.is_symlink():
            with suppress(Timeout), FileLock(_lock_of(other), timeout=0):
                remove_folder(other)


def mark_whole(point: Path) -> None:
    """Says that a restart point is written to its end."""
    (point / _WHOLE).touch()


def find_restart_point(folder: Path) -> str | None:
    """The newest restart point in a training's folder that was written to its end."""
    points = [path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE}")]
    return str(max(points, key=lambda path: int(path.name.rpartition("-")[2]))) if points else None


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")
