"""Folders for unfinished work, locks between processes, and the swap that makes work visible at once."""

import ctypes
import errno
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlaif_dagster.errors import StorageError
from rlaif_dagster.removal import refuse_links, remove_file, remove_folder

_OWN_LOCK = re.compile(r"[0-9a-f]{32}\.lock")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_SWAP_IS_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
_REMEDIES = {
    errno.ENOSPC: "free disk space and run again",
    errno.EDQUOT: "free disk space (the quota is used up) and run again",
    errno.EFBIG: "raise the file size limit (`ulimit -f`) or free disk space, and run again",
    errno.EROFS: "the disk is read-only: use a writable one",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.EXDEV: "keep the project (with data/ and .rlaif/) on one file system",
}


@contextmanager
def raising_storage_errors(subject: object) -> Iterator[None]:
    """Turns the operating system's errors into `StorageError`: the border of this room."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "look at the file named above, and run again")
        raise StorageError(f"{subject}: {error}\n  remedy: {remedy}") from error


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Makes a folder for the time of a `with` block.

    The folder's owner holds a lock beside it, which dies with the process: so folders left by a killed
    process are known, and the next one to come removes them, but never one in use.

    Raises:
        StorageError: If the parent, or a folder of the project that it lies in, is a link.
    """
    from filelock import FileLock

    refuse_links(parent)
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    folder = parent / uuid.uuid4().hex
    lock_path = folder.with_suffix(".lock")
    with FileLock(lock_path):
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_folder(folder)
            remove_file(lock_path)


def remove_leftovers(parent: Path) -> None:
    """Removes the scratch folders of dead processes: those that `scratch_folder` named, with a lock that nobody holds.

    Raises:
        StorageError: If the parent, or a folder of the project that it lies in, is a link.
    """
    refuse_links(parent)
    if not parent.is_dir():
        return
    with os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for lock_path in (parent / name for name in names if _OWN_LOCK.fullmatch(name)):
        folder = lock_path.with_suffix("")
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            continue  # not made here
        with suppress(OSError), tried_lock(lock_path) as is_free:
            if is_free:
                remove_folder(folder)
                remove_file(lock_path)


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Holds a lock between processes and threads for the time of a `with` block, waiting for it.

    Raises:
        StorageError: If its file, or a folder of the project that it lies in, is a link.
    """
    from filelock import FileLock

    refuse_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def tried_lock(path: Path) -> Iterator[bool]:
    """Takes a lock for the time of a `with` block if nobody holds it; False if somebody does.

    Raises:
        StorageError: If its file, or a folder of the project that it lies in, is a link.
    """
    from filelock import FileLock, Timeout

    refuse_links(path)
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write_whole(path: Path, data: bytes, *, scratch: Path) -> None:
    """Makes or replaces a file in one step, once its bytes are on the disk: it is never there in part.

    Args:
        path: The file.
        data: Its bytes.
        scratch: Where scratch folders are made, on the same file system.

    Raises:
        OSError: If it cannot be written; what was there is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(scratch) as folder:
        unfinished = folder / path.name
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)


def swap_in(new: Path, current: Path) -> None:
    """Puts the folder `new` in the place of `current`; what was there is then at `new`, or nothing is.

    On Linux a reader sees the old or the new, nothing else. Where the file system has no exchange of
    names, there is a moment with neither; a mixture never.

    Raises:
        OSError: If the names cannot be changed; `current` is then as it was.
    """
    current.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(current):
        new.rename(current)
    elif not _exchange(new, current):
        aside = new.with_name(new.name + ".old")
        current.rename(aside)
        try:
            new.rename(current)
        except OSError:
            aside.rename(current)
            raise
        aside.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    if (
        library.renameat2(
            _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
        )
        == 0
    ):
        return True
    number = ctypes.get_errno()
    if number in _SWAP_IS_UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
