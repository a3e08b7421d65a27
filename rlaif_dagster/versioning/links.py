"""Refuses symbolic links that a project must not have.

A clone brings every link that git tracks. So a link is forbidden where this program keeps its own files, and a link
that git tracks is never followed. Two folders may be links that this user made: `data/` and DVC's cache.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import StorageError
from rlaif_dagster.removal import WORK_FOLDER, refuse_links
from rlaif_dagster.versioning.git import is_tracked

_OF_THIS_MACHINE: Final = (WORK_FOLDER, ".dagster")
"""Folders that must not contain any link."""

_UNFINISHED: Final = ("work", "scratch")
"""Folders of `.rlaif` whose folders contain links that we make: stages read their inputs through them."""

_PLAIN: Final = (
    ".dvc",
    ".dvc/tmp",
    ".dvc/tmp/lock",
    ".dvc/site",
    "lineage",
    "lineage/collected",
    "signatures",
)
_OF_THIS_USER: Final = ("data", ".dvc/cache")


def refuse_foreign_links(root: Path) -> None:
    """Refuses a project with a link through which this program would write or remove files.

    Raises:
        StorageError: If there is such a link; names the first.
    """
    for name in (*_OF_THIS_MACHINE, *_PLAIN):
        refuse_links(root / name, below=root)
    for name in _OF_THIS_USER:
        refuse_tracked_link(root / name, root)
    for name in _OF_THIS_MACHINE:
        for link in _find_links(root / name, leave_out=[root / name / inner for inner in _UNFINISHED]):
            refuse_links(link, below=root)


def refuse_tracked_link(path: Path, root: Path) -> None:
    """Refuses a link that git tracks; one that this user made is followed.

    Raises:
        StorageError: If the path is a link that git tracks.
    """
    if path.is_symlink() and is_tracked(root, path.relative_to(root).as_posix()):
        raise StorageError(
            f"{path}: a symbolic link that git tracks, so every clone brings it, and it can lead anywhere\n"
            f"  remedy: remove the link, or, if you made it for yourself, remove it from git: `git rm --cached {path}`"
        )


def _find_links(folder: Path, *, leave_out: list[Path]) -> Iterator[Path]:
    """Yields the links in a folder, at any depth, without following one; not those of the folders in `leave_out`."""
    with suppress(OSError), os.scandir(folder) as entries:  # it does not exist, or another process removes it
        for entry in entries:
            if entry.is_symlink():
                yield Path(entry.path)
            elif folder not in leave_out and entry.is_dir(follow_symlinks=False):
                yield from _find_links(Path(entry.path), leave_out=leave_out)
