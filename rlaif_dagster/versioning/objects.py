"""Reads and writes objects of DVC's local cache: read-only files `<cache>/files/md5/ab/cdef...` named by md5.

Objects are written completely (hashed in place, or as a copy in a scratch folder, then renamed) and read without DVC's
help. They are never repaired or removed: a damaged object stays where it is, as evidence.

Known trade-off (accepted): objects are not fsynced, so a power cut may damage one; `check_tree`
finds it.
"""

import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlaif_dagster.digest import Digest, FileEntry, FolderManifest
from rlaif_dagster.errors import CorruptVersionError, StorageError
from rlaif_dagster.removal import refuse_links
from rlaif_dagster.versioning.scratch import scratch_folder
from rlaif_dagster.versioning.tree import Tree, is_plain_path

_BLOCK_BYTES = 1 << 20
_COPIED_AT_ONCE = 1 << 30
_NO_COPY_IN_KERNEL = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
_READ_ONLY = 0o444
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file's size in bytes and its two digests: DVC's md5 and our sha256."""

    size: int
    md5: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """A DVC cache folder."""

    folder: Path

    @property
    def scratch_path(self) -> Path:
        """The folder of unfinished objects, on the cache's own disk, so that a rename finishes them."""
        return self.folder / "rlaif-scratch"

    def path_of(self, md5: str) -> Path:
        """Returns the file of an object (`<32 hex>` a file, `<32 hex>.dir` a tree)."""
        return self.folder / f"files/md5/{md5[:2]}/{md5[2:]}"

    def find_missing(self, md5s: Iterable[str]) -> tuple[str, ...]:
        """Returns the objects that are not in the cache, each once, in order."""
        return tuple(md5 for md5 in dict.fromkeys(md5s) if not self.path_of(md5).is_file())

    def read_tree(self, md5: str) -> Tree | None:
        """Reads a tree object; None if the cache does not have it.

        Raises:
            CorruptVersionError: If its bytes do not match its name.
        """
        path = self.path_of(md5)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        got = hashlib.md5(data, usedforsecurity=False).hexdigest() + ".dir"
        if got != md5:
            raise CorruptVersionError(_describe_damage([(path, md5, got)]))
        try:
            return Tree.decode(data)
        except (ValueError, TypeError) as error:
            raise CorruptVersionError(f"{path}: not a tree object of DVC: {error}") from error

    def find_subtree(self, md5: str) -> Tree | None:
        """Looks for a version as a folder inside other trees of the cache; None if it is in none.

        `dvc pull` and `dvc fetch` fetch the tree of the whole `data/` and its files, but no tree of an
        asset.
        """
        for path in sorted(self.folder.glob("files/md5/*/*.dir")):
            with suppress(CorruptVersionError):  # not needed here; reading that tree reports it
                whole = self.read_tree(path.parent.name + path.name) or Tree(())
                for subtree in map(whole.take_subtree, whole.list_folders()):
                    if subtree.md5 == md5:
                        return subtree
        return None

    def write_tree(self, tree: Tree) -> None:
        """Stores a tree object."""
        md5 = tree.md5
        if self.read_tree(md5) is not None:
            return
        with scratch_folder(self.scratch_path) as scratch:
            unfinished = scratch / md5
            unfinished.write_bytes(tree.encode())
            self.adopt(unfinished, md5, Digest.from_bytes(tree.encode()))

    def add_folder(self, folder: Path, *, move: bool = False) -> tuple[Tree, FolderManifest]:
        """Stores a folder's files, each read once, then its tree object.

        Args:
            folder: The folder.
            move: Move the files instead of copying them, if nothing else links to them and they are on the cache's
                disk.

        Raises:
            StorageError: If the folder is empty or contains something that DVC cannot store.
            CorruptVersionError: If the cache has a damaged object of the same address.
        """
        entries: list[FileEntry] = []
        files: dict[str, str] = {}
        with scratch_folder(self.scratch_path) as scratch:
            disk = scratch.stat().st_dev
            for path, name, status in _list_files(folder):
                is_own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1  # no other name links to it
                if move and is_own and status.st_dev == disk:
                    unfinished = path
                else:
                    unfinished = scratch / "object"
                    copy_file(path, unfinished)
                hashed = hash_file(unfinished)
                self.adopt(unfinished, hashed.md5, hashed.digest)
                entries.append(FileEntry(path=name, size=hashed.size, digest=hashed.digest))
                files[name] = hashed.md5
        tree = Tree.from_files(files)
        self.write_tree(tree)
        return tree, FolderManifest(tuple(sorted(entries)))

    def adopt(self, unfinished: Path, md5: str, digest: Digest) -> None:
        """Moves a finished file into the cache under its md5, unless the cache already has these bytes.

        Raises:
            CorruptVersionError: If other bytes are there; they are left unchanged.
            StorageError: If a folder inside the cache is a link.
        """
        path = self.path_of(md5)
        refuse_links(path.parent, below=self.folder)
        if path.exists():
            got = Digest.from_file(path)
            if got != digest:
                raise CorruptVersionError(_describe_damage([(path, str(digest), str(got))]))
            unfinished.unlink()
            return
        unfinished.chmod(_READ_ONLY)
        try:
            unfinished.rename(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.rename(path)

    def check_tree(self, md5: str, tree: Tree, digest: Digest) -> FolderManifest:
        """Hashes every byte of a version and compares the digest with the recorded one.

        Raises:
            CorruptVersionError: If objects are damaged; names each one, with the expected and the actual hash.
            FileNotFoundError: If an object is missing.
        """
        objects = {name: self.path_of(file_md5) for name, file_md5 in tree.files}
        manifest = FolderManifest(
            tuple(
                FileEntry(path=name, size=path.stat().st_size, digest=Digest.from_file(path))
                for name, path in sorted(objects.items())
            )
        )
        if manifest.digest == digest:
            return manifest
        self.check_objects(file_md5 for _, file_md5 in tree.files)
        raise CorruptVersionError(_describe_damage([(self.path_of(md5), str(digest), str(manifest.digest))]))

    def check_objects(self, md5s: Iterable[str]) -> None:
        """Hashes objects and compares each with its name.

        Raises:
            CorruptVersionError: If objects are damaged; names each one.
            FileNotFoundError: If one is missing.
        """
        damaged = [
            (self.path_of(md5), md5, got)
            for md5 in dict.fromkeys(md5s)
            if (got := hash_file(self.path_of(md5)).md5) != md5.removesuffix(".dir")
        ]
        if damaged:
            raise CorruptVersionError(_describe_damage(damaged))

    def measure(self, tree: Tree) -> dict[str, int]:
        """Returns the size in bytes of each object of a tree that is here."""
        sizes: dict[str, int] = {}
        for md5 in {md5 for _, md5 in tree.files}:
            with suppress(FileNotFoundError):
                sizes[md5] = self.path_of(md5).stat().st_size
        return sizes


def hash_file(path: Path) -> HashedFile:
    """Hashes a file in one pass and constant memory; md5, the slow one, runs in parallel with reading and sha256."""
    md5 = hashlib.md5(usedforsecurity=False)
    sha256 = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as stream:
        block = stream.read(_BLOCK_BYTES)
        if len(block) < _BLOCK_BYTES:
            block += stream.readall()
            md5.update(block)
            sha256.update(block)
            size = len(block)
        else:
            with ThreadPoolExecutor(max_workers=1) as beside:
                while block:
                    running = beside.submit(md5.update, block)
                    sha256.update(block)
                    size += len(block)
                    block = stream.read(_BLOCK_BYTES)
                    running.result()
    return HashedFile(size=size, md5=md5.hexdigest(), digest=Digest(sha256.hexdigest()))


def copy_file(source: Path, target: Path) -> None:
    """Copies a file in the kernel; both files share their blocks if the file system supports it."""
    with source.open("rb") as read, target.open("xb") as written:
        if sys.platform == "linux":
            try:
                while os.copy_file_range(read.fileno(), written.fileno(), _COPIED_AT_ONCE):
                    pass
            except OSError as error:
                if error.errno not in _NO_COPY_IN_KERNEL:
                    raise
            else:
                return
        shutil.copyfileobj(read, written, _BLOCK_BYTES)


def has_same_bytes(one: Path, other: Path) -> bool:
    """Compares two files, up to the first difference; False if one of them is missing."""
    try:
        with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
            if os.fstat(left.fileno()).st_size != os.fstat(right.fileno()).st_size:
                return False
            while block := left.read(_BLOCK_BYTES):
                if block != right.read(len(block)):
                    return False
            return not right.read(1)
    except FileNotFoundError:
        return False


def _list_files(folder: Path) -> Iterator[tuple[Path, str, os.stat_result]]:
    """Yields each file below a folder with its posix path inside it and its status (a link's own), in order of name.

    Raises:
        StorageError: On anything that DVC would silently drop or refuse: an empty folder as a whole, links to
            folders, pipes and the like, reserved or unprintable names.
    """
    num_files = 0
    for root, folder_names, file_names in os.walk(folder):
        folder_names.sort()
        linked = [name for name in folder_names if Path(root, name).is_symlink()]
        prefix = "" if root == str(folder) else Path(root).relative_to(folder).as_posix() + "/"
        for file_name in sorted([*file_names, *linked]):
            path, name = Path(root, file_name), prefix + file_name
            if not name.isprintable() or not is_plain_path(name):
                raise StorageError(
                    f"{folder}: {name!r} cannot be stored by DVC (a reserved or unprintable name)\n"
                    "  remedy: write it under another name"
                )
            status = path.lstat()
            if not (stat.S_ISREG(status.st_mode) or path.is_file()):
                raise StorageError(
                    f"{path}: not a regular file; a version can contain only regular files\n"
                    "  remedy: remove it from the folder"
                )
            num_files += 1
            yield path, name, status
    if num_files == 0:
        raise StorageError(
            f"{folder}: the folder has no files; a version needs at least one\n"
            "  remedy: write the output before storing it"
        )


def _describe_damage(damaged: Sequence[tuple[Path, str, str]]) -> str:
    """Describes damaged objects: (file, expected hash, actual hash)."""
    lines = [
        f"{path}: damaged: expected {expected}, got {got}" for path, expected, got in damaged[:_MAX_NAMED]
    ]
    if len(damaged) > _MAX_NAMED:
        lines.append(f"... and {len(damaged) - _MAX_NAMED} more")
    lines.append(
        "  remedy: nothing was changed, so that you can examine the damage; then move the damaged files "
        "out of the cache and run again: they are fetched from the remote or made again"
    )
    return "\n".join(lines)
