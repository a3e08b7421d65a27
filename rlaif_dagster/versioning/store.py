"""The store of versions: every version of every asset that was ever made, reachable by digest.

The objects lie in DVC's cache.

A version is stored by `add` before anything names it. Then `pin` makes it visible to git, and `publish` shows it
to people in `data/`. Nothing here removes a version (`rlaif gc` does, with a note in the ledger): `dvc gc`
would remove versions that git never saw, and is never called.

Traps of DVC that are avoided here: objects, trees and `data.dvc` are written in DVC's formats without its `Repo`,
so no shared instance loses updates and no status check deletes a damaged object; updates of `data.dvc`
wait for our lock, then for DVC's own; pushes go by named versions, not by commits.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.digest import Digest, FolderManifest, iter_files
from rlaif_dagster.errors import StorageError
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.removal import WORK_FOLDER, refuse_links
from rlaif_dagster.versioning.objects import ObjectCache, copy_file, has_same_bytes
from rlaif_dagster.versioning.pin import DATA_FOLDER, Pin, read_pinned_md5, write_pin
from rlaif_dagster.versioning.project import init_project, keep_site_folder_inside, read_config
from rlaif_dagster.versioning.scratch import (
    held_lock,
    raising_storage_errors,
    remove_leftovers,
    scratch_folder,
    swap_in,
)
from rlaif_dagster.versioning.tree import Tree, check_asset, check_tree_md5

if TYPE_CHECKING:
    from rlaif_dagster.versioning.remote import Remote


_PUSHED_AT_ONCE = 32  # versions whose files are sent before their trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A stored version of an asset.

    Attributes:
        asset: The asset, which is also its folder in `data/`.
        digest: Our sha256 digest of the folder.
        md5: DVC's address of the folder, `<32 hex digits>.dir`.
        manifest: Path, size in bytes and sha256 digest of every file.
    """

    asset: str
    digest: Digest
    md5: str
    manifest: FolderManifest

    @property
    def size(self) -> int:
        """The total number of bytes."""
        return self.manifest.size


@dataclass(frozen=True, slots=True, kw_only=True)
class PinResult:
    """The content of `data.dvc` after a pin.

    Attributes:
        md5: The address of the whole `data/`.
        changed: Whether the file was rewritten.
        parent_lost: Whether the tree pinned before was in neither cache nor remote, so that only known
            versions were kept.
        dropped: The known assets that could not be kept then, because their tree objects are lost too.
    """

    md5: str
    changed: bool
    parent_lost: bool = False
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """The result of a push: the remote's name, the objects that are there, and those sent now.

    Attributes:
        remote: The remote's name.
        num_objects: Objects of versions that are complete here; all are in the remote now.
        num_sent: How many of them were sent now.
        elsewhere: Versions that are complete in the remote but not here.
        lost: Versions that neither side has complete.
    """

    remote: str
    num_objects: int
    num_sent: int
    elsewhere: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def init_store(root: Path) -> "Store":
    """Makes a folder a DVC project, with or without git, and opens its store; existing files stay.

    Raises:
        StorageError: If the files cannot be written.
    """
    init_project(root)
    return Store.open(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The versions of one project. Safe to use from many threads and processes at once."""

    root: Path
    cache: ObjectCache
    config: Mapping[str, Any] = field(repr=False, compare=False)
    uses_remote: bool = False

    @classmethod
    def open(cls, root: Path, *, uses_remote: bool = False) -> "Store":
        """Opens the store of a project (the folder with `.dvc/`).

        Args:
            root: The project.
            uses_remote: Whether missing versions may be read from the DVC remote; a push opens it in any case.

        Raises:
            StorageError: If there is no store, or its settings are wrong.
        """
        root = root.resolve()
        config = read_config(root)
        keep_site_folder_inside(root, config)
        cache_folder = config["cache"].get("dir") or root / ".dvc" / "cache"
        return cls(root=root, cache=ObjectCache(Path(cache_folder)), config=config, uses_remote=uses_remote)

    def add(self, asset: str, folder: Path, *, move: bool = False) -> Version:
        """Stores a folder as a version; does not touch `data/` or `data.dvc`.

        The tree object is written last: a version is complete or does not exist.

        Args:
            asset: The asset.
            folder: The files. They are read once.
            move: Move the files out of the folder instead of copying them, if possible.

        Raises:
            StorageError: If the disk is full or read-only, or the folder is empty, or has something that DVC cannot
                store.
            CorruptVersionError: If the cache has a damaged object of the same address.
        """
        check_asset(asset)
        with raising_storage_errors(f"storing {folder} as a version of {asset}"):
            tree, manifest = self.cache.add_folder(folder, move=move)
        return Version(asset=asset, digest=manifest.digest, md5=tree.md5, manifest=manifest)

    def has(self, md5: str) -> bool:
        """Says whether a version's objects are all in the cache; checks only names, see `verify`."""
        tree = self._read_tree(md5)
        return tree is not None and not self.cache.find_missing(file_md5 for _, file_md5 in tree.files)

    @property
    def has_remote(self) -> bool:
        """Says whether a default DVC remote is set."""
        return bool(self.config["core"].get("remote"))

    def verify(self, md5: str, digest: Digest) -> FolderManifest | None:
        """Hashes every byte of a version, after fetching what is missing, if allowed; None if it is not available.

        Raises:
            CorruptVersionError: If the bytes do not hash to the digest; everything stays as it was found.
            StorageError: If something is missing here and the remote cannot be read.
        """
        if not self.has(md5) and not self.fetch(md5):
            return None
        with raising_storage_errors(f"verifying {md5}"):
            return self.cache.check_tree(md5, self._get_tree(md5), digest)

    def fetch(self, md5: str) -> bool:
        """Fetches what the cache lacks of a version from the DVC remote, if allowed; False if it is not available.

        Raises:
            CorruptVersionError: If the remote's bytes are damaged; they are not stored.
            StorageError: If the remote cannot be read, or the cache cannot be written.
        """
        if self.has(md5):
            return True
        remote = self._open_remote() if self.uses_remote else None
        tree = self._obtain_tree(md5)
        if remote is None or tree is None:
            return False
        return remote.fetch_objects(self.cache, (file_md5 for _, file_md5 in tree.files))

    def push(self, md5s: Iterable[str], *, progress: Progress = ignore_progress) -> PushResult:
        """Copies versions to the default DVC remote, files before trees, and checks that all arrived.

        A version that is incomplete here is not sent; it is in `elsewhere` if the remote has it complete, and in `lost`
        if not. A push that was interrupted continues from there when it is called again.

        Raises:
            CorruptVersionError: If an object to send is damaged.
            StorageError: If no remote is set or it cannot be written.
        """
        remote = self.require_remote()
        wanted = list(dict.fromkeys(md5s))
        here = [md5 for md5 in wanted if self.has(md5)]
        checked: set[str] = set()
        num_sent = 0
        for start in range(0, len(here), _PUSHED_AT_ONCE):
            trees = {md5: self._get_tree(md5) for md5 in here[start : start + _PUSHED_AT_ONCE]}
            files = {file_md5 for tree in trees.values() for _, file_md5 in tree.files} - checked
            num_sent += remote.send_objects(self.cache, sorted(files))
            num_sent += remote.send_objects(self.cache, list(trees))
            checked |= files | set(trees)
            progress("versions sent", start + len(trees), len(here))
        others = [md5 for md5 in wanted if md5 not in set(here)]
        there = remote.find_whole(others, self.cache.scratch_path) if others else set()
        return PushResult(
            remote=remote.name,
            num_objects=len(checked),
            num_sent=num_sent,
            elsewhere=tuple(md5 for md5 in others if md5 in there),
            lost=tuple(md5 for md5 in others if md5 not in there),
        )

    def require_remote(self) -> "Remote":
        """Opens the default DVC remote.

        Raises:
            StorageError: If none is set, or its settings are wrong.
        """
        remote = self._open_remote()
        if remote is None:
            raise StorageError(
                f"{self.root}: no default DVC remote is set\n"
                "  remedy: `dvc remote add --default NAME ADDRESS`"
            )
        return remote

    def read_pinned(self) -> str | None:
        """Returns the address of the whole `data/` that `data.dvc` pins; None if nothing is pinned.

        Raises:
            StorageError: If `data.dvc` cannot be read.
        """
        with raising_storage_errors(self._pin_path):
            return read_pinned_md5(self._pin_path)

    def find_pinned(self, asset: str) -> str | None:
        """Returns the address of an asset's pinned version; None if none is known here."""
        pinned = self.read_pinned()
        whole = None if pinned is None else self._read_tree(pinned)
        subtree = Tree(()) if whole is None else whole.take_subtree(check_asset(asset))
        return subtree.md5 if subtree.files else None

    def pin(self, asset: str, md5: str, *, known: Mapping[str, str] | None = None) -> PinResult:
        """Pins this version of `data/<asset>/` in `data.dvc`; other assets stay unchanged.

        A file that pins it already is not rewritten. If the tree pinned before is no longer available (a fresh clone
        whose remote never got it), the versions in `known` (asset -> address) are kept, as far as their trees are
        available.

        Raises:
            StorageError: If the version is not here, `data.dvc` is damaged, or the disk is full; it is
                then unchanged.
        """
        check_asset(asset)
        subtree = self._get_tree(md5)
        if self.find_pinned(asset) == md5:
            return PinResult(md5=str(self.read_pinned()), changed=False)
        with (
            raising_storage_errors(self._pin_path),
            held_lock(self._work_path / "locks" / "pin.lock"),
            self._held_dvc_lock(),
        ):
            pinned = read_pinned_md5(self._pin_path)
            whole = Tree(()) if pinned is None else self._obtain_tree(pinned)
            parent_lost, dropped = whole is None, tuple[str, ...]()
            if whole is None:
                whole, dropped = self._gather_trees(known or {})
            whole = whole.replace_subtree(asset, subtree)
            self.cache.write_tree(whole)
            if whole.md5 != pinned:
                pin = Pin.from_tree(whole, self._measure(whole))
                write_pin(self._pin_path, pin, scratch=self._scratch_path)
            return PinResult(
                md5=whole.md5, changed=whole.md5 != pinned, parent_lost=parent_lost, dropped=dropped
            )

    def publish(self, asset: str, md5: str, digest: Digest, *, verified: bool = False) -> bool:
        """Replaces the working copy `data/<asset>/` by this version in one step; False if it was this version already.

        The copy belongs to the user: changing it does not change the cache.

        Args:
            asset: The asset.
            md5: The version's address.
            digest: The digest of its bytes.
            verified: Its bytes have just been hashed, by `add` or `verify`, and are not hashed again.

        Raises:
            CorruptVersionError: If the stored bytes do not hash to the digest; then `data/` is unchanged.
            StorageError: If the version is not here, the disk is full, or a folder inside `data/` is a link;
                then `data/` is unchanged.
        """
        folder = self.root / DATA_FOLDER / check_asset(asset)
        refuse_links(folder.parent, below=self.root / DATA_FOLDER)
        with (
            raising_storage_errors(folder),
            held_lock(self._work_path / "locks" / f"publish-{asset.replace('/', '%')}.lock"),
        ):
            tree = self._get_tree(md5) if verified else self._verify_tree(md5, digest)
            if self._shows(folder, tree):
                return False
            with scratch_folder(self._scratch_path) as scratch:
                self._copy_out(tree, scratch / "version")
                swap_in(scratch / "version", folder)
        return True

    def checkout(self, md5: str, digest: Digest, target: Path) -> None:
        """Copies a version to a new folder in one step.

        Raises:
            CorruptVersionError: If the stored bytes do not hash to the digest; no folder is made.
            StorageError: If the folder exists, the version is not available, or the disk is full.
        """
        _check_new(target)
        beside = target.parent / f".{target.name}.rlaif-scratch"
        with raising_storage_errors(target):
            with scratch_folder(beside) as scratch:
                self._copy_out(self._verify_tree(md5, digest), scratch / "version")
                swap_in(scratch / "version", target)
            with suppress(OSError):  # another checkout is using it
                beside.rmdir()

    def view(self, md5: str, target: Path) -> None:
        """Makes a new folder of symbolic links to a version's read-only objects, so that nothing is copied.

        Raises:
            StorageError: If the folder exists, or the version is not available.
        """
        _check_new(target)
        if not self.fetch(md5):
            raise StorageError(self._word_missing(md5))
        with raising_storage_errors(target):
            target.mkdir(parents=True, exist_ok=True)
            for path, file_md5 in self._get_tree(md5).files:
                link = target / path
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.cache.path_of(file_md5))

    def remove_leftovers(self) -> None:
        """Removes unfinished work of killed processes."""
        for parent in (self._scratch_path, self.cache.scratch_path):
            remove_leftovers(parent)

    @property
    def _pin_path(self) -> Path:
        return self.root / f"{DATA_FOLDER}.dvc"

    @property
    def _work_path(self) -> Path:
        return self.root / WORK_FOLDER

    @property
    def _scratch_path(self) -> Path:
        return self._work_path / "scratch"

    def _read_tree(self, md5: str) -> Tree | None:
        """Reads a tree object, or finds it inside another (and stores it); None if it is not here."""
        with raising_storage_errors(self.cache.path_of(check_tree_md5(md5))):
            tree = self.cache.read_tree(md5)
            if tree is None:
                tree = self.cache.find_subtree(md5)
                if tree is not None:
                    self.cache.write_tree(tree)
            return tree

    def _get_tree(self, md5: str) -> Tree:
        tree = self._read_tree(md5)
        if tree is None:
            raise StorageError(self._word_missing(md5))
        return tree

    def _obtain_tree(self, md5: str) -> Tree | None:
        """Reads a tree object from the cache, or else from the remote; None if neither has it."""
        tree = self._read_tree(md5)
        remote = self._open_remote() if tree is None and self.uses_remote else None
        if tree is None and remote is not None:
            pinned = self.read_pinned()
            if remote.fetch_objects(self.cache, [md5]) or (
                pinned is not None and remote.fetch_objects(self.cache, [pinned])
            ):
                tree = self._read_tree(md5)
        return tree

    def _gather_trees(self, versions: Mapping[str, str]) -> tuple[Tree, tuple[str, ...]]:
        """Builds the tree of `data/` from versions (asset -> address), and lists those that are lost."""
        whole = Tree(())
        lost: list[str] = []
        for asset, md5 in sorted(versions.items()):
            tree = self._obtain_tree(md5)
            if tree is None:
                lost.append(asset)
            else:
                whole = whole.replace_subtree(check_asset(asset), tree)
        return whole, tuple(lost)

    def _verify_tree(self, md5: str, digest: Digest) -> Tree:
        if self.verify(md5, digest) is None:
            raise StorageError(self._word_missing(md5))
        return self._get_tree(md5)

    def _copy_out(self, tree: Tree, target: Path) -> None:
        for folder in ("", *tree.list_folders()):
            (target / folder).mkdir(parents=True)
        for path, file_md5 in tree.files:
            copy_file(self.cache.path_of(file_md5), target / path)

    def _shows(self, folder: Path, tree: Tree) -> bool:
        """Says whether a folder contains exactly the files of a tree, byte for byte."""
        present = {path.relative_to(folder).as_posix() for path in iter_files(folder)}
        return present == {path for path, _ in tree.files} and all(
            has_same_bytes(folder / path, self.cache.path_of(file_md5)) for path, file_md5 in tree.files
        )

    def _open_remote(self) -> "Remote | None":
        if not self.has_remote:
            return None
        from rlaif_dagster.versioning.remote import Remote

        return Remote.open(self.root, self.config)

    def _measure(self, tree: Tree) -> dict[str, int]:
        """Returns the size of each object of a tree; asks the remote, if allowed, for those that are not here."""
        sizes = self.cache.measure(tree)
        missing = [md5 for md5 in dict.fromkeys(md5 for _, md5 in tree.files) if md5 not in sizes]
        remote = self._open_remote() if missing and self.uses_remote else None
        return sizes if remote is None else sizes | remote.measure(missing)

    def _held_dvc_lock(self) -> Any:
        """Holds DVC's own lock, so that a `dvc` command at the same time waits for us, and we for it."""
        from dvc.lock import make_lock

        lock_folder = self.root / ".dvc" / "tmp"
        lock_folder.mkdir(parents=True, exist_ok=True)
        return make_lock(
            str(lock_folder / "lock"),
            tmp_dir=str(lock_folder),
            hardlink_lock=self.config["core"].get("hardlink_lock", False),
            wait=True,
        )

    def _word_missing(self, md5: str) -> str:
        if self.has_remote and not self.uses_remote:
            return (
                f"{md5}: this version is not here ({self.cache.folder}), and the DVC remote was not asked\n"
                "  remedy: `rlaif pull`, or the same command with `--remote`"
            )
        return (
            f"{md5}: this version is neither in the cache ({self.cache.folder}) nor in a DVC remote\n"
            "  remedy: set the remote to which a teammate has pushed it (`dvc remote add --default NAME ADDRESS`), or "
            "run the asset again"
        )


def _check_new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target}: already exists\n  remedy: name a new or an empty folder")
