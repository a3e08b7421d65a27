"""Folders for unfinished work, locks between processes, and the atomic swap that publishes work."""

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
    errno.EACCES: "give this user read and write permission there",
    errno.EPERM: "give this user read and write permission there",
    errno.EXDEV: "keep the project (with data/ and .rlaif/) on one file system",
}


@contextmanager
def raising_storage_errors(subject: object) -> Iterator[None]:
    """Turns the operating system's errors into `StorageError`, at the boundary of this package."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check the file named above, and run again")
        raise StorageError(f"{subject}: {error}\n  remedy: {remedy}") from error


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Makes a folder that exists during a `with` block.

    The owner holds a lock beside the folder, which is released when its process dies. So the next process can recognise
    and remove folders left by a killed process, but never one in use.

    Raises:
        StorageError: If the parent, or a project folder above it, is a link.
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
    """Removes the scratch folders of dead processes: those made by `scratch_folder` whose lock nobody holds.

    Raises:
        StorageError: If the parent, or a project folder above it, is a link.
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
    """Waits for a lock between processes and threads, and holds it during a `with` block.

    Raises:
        StorageError: If its file, or a project folder above it, is a link.
    """
    from filelock import FileLock

    refuse_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def tried_lock(path: Path) -> Iterator[bool]:
    """Takes a lock during a `with` block if nobody holds it; False if somebody does.

    Raises:
        StorageError: If its file, or a project folder above it, is a link.
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
    """Makes or replaces a file in one step, after its bytes are on the disk, so that it is never incomplete.

    Args:
        path: The file.
        data: Its bytes.
        scratch: The folder for scratch folders, on the same file system.

    Raises:
        OSError: If it cannot be written; then the old file is unchanged.
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
    """Replaces the folder `current` by `new`; the old folder, if any, is then at `new`.

    On Linux a reader sees the old or the new folder, nothing else. If the file system cannot exchange names, there is a
    moment with neither; never a mixture.

    Raises:
        OSError: If the names cannot be changed; then `current` is unchanged.
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
    """Exchanges two names in one step; False if the system cannot."""
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
