"""The project's default DVC remote (a folder, S3, SSH, ...), object by object through DVC's file systems.

Imported lazily: it loads DVC's file systems.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.fs import get_cloud_fs

from rlaif_dagster.errors import CorruptVersionError, StorageError
from rlaif_dagster.versioning.clone_settings import check_remote
from rlaif_dagster.versioning.objects import ObjectCache, hash_file
from rlaif_dagster.versioning.scratch import raising_storage_errors, scratch_folder
from rlaif_dagster.versioning.tree import Tree

_MAX_TRANSFERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A DVC remote: its name in the settings, DVC's file system, its folder, and its folder of md5 objects."""

    name: str
    filesystem: Any
    root: str
    folder: str

    @classmethod
    def open(cls, root: Path, config: Mapping[str, Any]) -> "Remote | None":
        """Opens a project's default remote (`core.remote`); None if none is set.

        Raises:
            StorageError: If its settings are wrong or come from files that must not set them, or its plugin is not
                installed.
        """
        name = config["core"].get("remote")
        if not name:
            return None
        check_remote(root, config)
        with _raising_remote_errors(name):
            filesystem_type, settings, folder = get_cloud_fs(config, name=name)
            filesystem = filesystem_type(**settings)
            return cls(
                name=name,
                filesystem=filesystem,
                root=folder,
                folder=filesystem.join(folder, "files", "md5"),
            )

    def path_of(self, md5: str) -> str:
        """Returns the remote's path of an object."""
        path: str = self.filesystem.join(self.folder, md5[:2], md5[2:])
        return path

    def download(self, md5: str, target: Path) -> bool:
        """Copies an object to a file; False if the remote does not have it.

        Raises:
            StorageError: If the remote cannot be read.
        """
        with _raising_remote_errors(self.name):
            try:
                self.filesystem.get_file(self.path_of(md5), str(target))
            except FileNotFoundError:
                return False
        return True

    def measure(self, md5s: Sequence[str]) -> dict[str, int]:
        """Returns the size in bytes of each object that the remote has.

        Raises:
            StorageError: If the remote cannot be read.
        """
        with _raising_remote_errors(self.name):
            answers = self.filesystem.info([self.path_of(md5) for md5 in md5s], return_exceptions=True)
            sizes: dict[str, int] = {}
            for md5, answer in zip(md5s, answers, strict=True):
                if isinstance(answer, FileNotFoundError):
                    continue
                if isinstance(answer, Exception):
                    raise answer
                sizes[md5] = answer["size"]
            return sizes

    def find_whole(self, trees: Sequence[str], scratch_path: Path) -> set[str]:
        """Returns the trees that this remote has with all their files; the files' bytes are not read.

        Args:
            trees: Addresses.
            scratch_path: The folder for the trees while they are read.

        Raises:
            StorageError: If the remote cannot be read, or the scratch folder cannot be written.
        """
        with raising_storage_errors(scratch_path), scratch_folder(scratch_path) as scratch:
            targets = [scratch / md5 for md5 in trees]
            with ThreadPoolExecutor(max_workers=_MAX_TRANSFERS) as pool:
                found = pool.map(self.download, trees, targets)
                arrived = [target for target, is_there in zip(targets, found, strict=True) if is_there]
            read = {target.name: _read_tree(target) for target in arrived}
        files = {md5 for tree in read.values() if tree is not None for _, md5 in tree.files}
        there = self.measure(sorted(files)).keys()
        return {
            md5
            for md5, tree in read.items()
            if tree is not None and all(file_md5 in there for _, file_md5 in tree.files)
        }

    def fetch_objects(self, cache: ObjectCache, md5s: Iterable[str]) -> bool:
        """Downloads what a cache lacks, checks it and stores it; False if the remote lacks some.

        Raises:
            CorruptVersionError: If an object of the remote is damaged; it is not stored.
            StorageError: If the remote cannot be read, or the cache cannot be written.
        """
        with raising_storage_errors(cache.folder), scratch_folder(cache.scratch_path) as scratch:
            targets = {md5: scratch / md5 for md5 in cache.find_missing(md5s)}
            with ThreadPoolExecutor(max_workers=_MAX_TRANSFERS) as pool:
                found = list(pool.map(self.download, targets.keys(), targets.values()))
            for (md5, target), is_here in zip(targets.items(), found, strict=True):
                if is_here:
                    self._take_download(cache, md5, target)
        return all(found)

    def send_objects(self, cache: ObjectCache, md5s: Sequence[str]) -> int:
        """Uploads what the remote lacks (or has only in part), checks that it arrived, and returns how many.

        Raises:
            CorruptVersionError: If an object to send is damaged.
            StorageError: If an object is missing here, or the remote cannot be written.
        """
        with raising_storage_errors(cache.folder):
            sizes = {md5: cache.path_of(md5).stat().st_size for md5 in md5s}
            present = self.measure(md5s)
            wanted = [md5 for md5 in md5s if present.get(md5) != sizes[md5]]
            cache.check_objects(wanted)
        with _raising_remote_errors(self.name), ThreadPoolExecutor(max_workers=_MAX_TRANSFERS) as pool:
            list(pool.map(self._upload, wanted, map(cache.path_of, wanted)))
        arrived = self.measure(wanted)
        for md5 in wanted:
            if arrived.get(md5) != sizes[md5]:
                raise StorageError(
                    f"{self.path_of(md5)} in DVC remote {self.name!r}: {arrived.get(md5)} of {sizes[md5]} "
                    "bytes arrived\n  remedy: push again"
                )
        return len(wanted)

    def list_files(self, kind: str) -> dict[str, int]:
        """Returns name and size in bytes of each file of a folder beside the objects, such as `lineage`.

        Raises:
            StorageError: If the remote cannot be read.
        """
        with _raising_remote_errors(self.name):
            try:
                entries = self.filesystem.ls(self.filesystem.join(self.root, kind), detail=True)
            except FileNotFoundError:
                return {}
            return {self.filesystem.name(entry["name"]): int(entry["size"]) for entry in entries}

    def fetch_files(self, kind: str, names: Sequence[str], folder: Path) -> None:
        """Copies files of such a folder into a folder here; the caller must check their content.

        Raises:
            StorageError: If the remote cannot be read, or the folder cannot be written.
        """
        sources = [self.filesystem.join(self.root, kind, name) for name in names]
        with _raising_remote_errors(self.name), ThreadPoolExecutor(max_workers=_MAX_TRANSFERS) as pool:
            list(pool.map(self.filesystem.get_file, sources, [str(folder / name) for name in names]))

    def send_files(self, kind: str, files: Sequence[Path]) -> int:
        """Uploads the files that such a folder lacks (or has only in part), checks that they arrived; returns how many.

        Raises:
            StorageError: If the remote cannot be written.
        """
        present = self.list_files(kind)
        wanted = [file for file in files if present.get(file.name) != file.stat().st_size]
        with _raising_remote_errors(self.name), ThreadPoolExecutor(max_workers=_MAX_TRANSFERS) as pool:
            folder = self.filesystem.join(self.root, kind)
            self.filesystem.makedirs(folder, exist_ok=True)
            targets = [self.filesystem.join(folder, file.name) for file in wanted]
            list(pool.map(self.filesystem.put_file, map(str, wanted), targets))
        arrived = self.list_files(kind) if wanted else {}
        for file in wanted:
            if arrived.get(file.name) != file.stat().st_size:
                raise StorageError(
                    f"{kind}/{file.name} did not arrive completely in DVC remote {self.name!r}\n  remedy: push again"
                )
        return len(wanted)

    def _upload(self, md5: str, source: Path) -> None:
        path = self.path_of(md5)
        self.filesystem.makedirs(self.filesystem.parent(path), exist_ok=True)
        self.filesystem.put_file(str(source), path)

    def _take_download(self, cache: ObjectCache, md5: str, target: Path) -> None:
        hashed = hash_file(target)
        if hashed.md5 != md5.removesuffix(".dir"):
            raise CorruptVersionError(
                f"{self.path_of(md5)} in DVC remote {self.name!r}: damaged: expected {md5}, "
                f"got {hashed.md5}\n  remedy: nothing was stored; move that file out of the remote, then push "
                "it again from a machine that has it, or run again to make it again"
            )
        cache.adopt(target, md5, hashed.digest)


def _read_tree(path: Path) -> Tree | None:
    """Reads a tree object whose name is its address; None if it is damaged."""
    try:
        tree = Tree.decode(path.read_bytes())
    except (ValueError, TypeError):
        return None
    return tree if tree.md5 == path.name else None


@contextmanager
def _raising_remote_errors(name: str) -> Iterator[None]:
    """Turns every error of a remote's file system (each has its own) into `StorageError`."""
    try:
        yield
    except Exception as error:
        raise StorageError(
            f"DVC remote {name!r}: {error or type(error).__name__}\n"
            "  remedy: check its address (`dvc remote list`) and your access to it, and try again"
        ) from error
