"""Restart points, from which a killed training continues and reaches the same weights."""

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
"""An empty file in a completely written restart point."""

_NAME: Final = re.compile(r"[0-9a-f]{12}")
"""The name of a training's folder: a short digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Where a killed training continues, to reach the same weights.

    Attributes:
        folder: A folder used only by this training, which survives a crash, named by 12 hex digits. It is removed when
            training has ended.
        every_steps: Optimiser steps from one restart point to the next.
        held: If True, another process holds the folder for this one, and removes it.
    """

    folder: Path
    every_steps: int
    held: bool = False


@contextmanager
def hold_workspace(scratch: Path, restart: Restart | None = None) -> Iterator[Path]:
    """Opens the folder that a training writes to: a temporary one inside `scratch`, or that of its restart points.

    When training has ended, the restart points are removed, and so are those of other trainings of this asset that no
    process is using.

    Raises:
        StorageError: If the folder of the restart points, or a project folder above it, is a link.
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
    """Marks a restart point as completely written."""
    (point / _WHOLE).touch()


def find_restart_point(folder: Path) -> str | None:
    """Finds the newest complete restart point in a training's folder."""
    points = [path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE}")]
    return str(max(points, key=lambda path: int(path.name.rpartition("-")[2]))) if points else None


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")
