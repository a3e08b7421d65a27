"""Removes this program's own files and folders without following links. No other module removes them.

A clone can bring a symbolic link to any place of a project. So whatever is removed, locked or swapped is reached
without a link, starting from a folder that the caller trusts. Links inside a removed folder are removed themselves;
their targets stay.

Known trade-off (accepted): a link that somebody creates between the check and the removal is not detected. But whoever
can write into the project while a command runs has this user's rights already.
"""

import shutil
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import StorageError

WORK_FOLDER: Final = ".rlaif"
"""The folder for this machine's locks and unfinished work in a project."""


def refuse_links(path: Path, *, below: Path | None = None) -> None:
    """Refuses a path that goes through a link.

    Args:
        path: The path; it need not exist.
        below: The trusted folder above it. By default the project of the innermost `.rlaif` on the path, or else
            the path's parent.

    Raises:
        StorageError: If `path` itself, or a folder between `below` and it, is a symbolic link.
    """
    place = below or _find_trusted(path)
    for part in path.relative_to(place).parts:
        place /= part
        if place.is_symlink():
            raise StorageError(
                f"{place}: a symbolic link where this program removes and replaces files\n"
                f"  remedy: check where it leads (`ls -l`), then remove the link: `rm {place}`"
            )


def remove_folder(folder: Path, *, below: Path | None = None) -> None:
    """Removes a folder, as far as this user has the permission.

    Args:
        folder: The folder.
        below: See `refuse_links`.

    Raises:
        StorageError: If the folder, or one above it, is a link; nothing is removed.
    """
    refuse_links(folder, below=below)
    shutil.rmtree(folder, ignore_errors=True)


def remove_file(path: Path, *, below: Path | None = None) -> None:
    """Removes a file if it exists; for a link, the link itself.

    Args:
        path: The file.
        below: See `refuse_links`.

    Raises:
        StorageError: If a folder above it is a link; nothing is removed.
        OSError: If it cannot be removed.
    """
    refuse_links(path.parent, below=below or _find_trusted(path))
    path.unlink(missing_ok=True)


def _find_trusted(path: Path) -> Path:
    return next((folder.parent for folder in path.parents if folder.name == WORK_FOLDER), path.parent)
