"""Audits the store: hashes every object and compares every version with its record. Reads only, fetches nothing."""

import os
import re
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.auditing.findings import Finding, show_path
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.progress import Progress
from rlaif_dagster.versioning.objects import HashedFile, ObjectCache, hash_file
from rlaif_dagster.versioning.project import read_config
from rlaif_dagster.versioning.tree import Tree

_OBJECT_PATH = re.compile(r"([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)")
_MOVE_AWAY: Final = (
    "keep it as evidence; then move it out of the cache: `rlaif run` fetches it or makes it again"
)
_NOT_HERE: Final = "not here, so not checked"
_LOOK_IN_REMOTE: Final = (
    "`rlaif pull` brings what the DVC remote has; `rlaif audit --remote` only asks what it has"
)
_PULL: Final = "`rlaif pull` fetches it, then audit again; the audit itself fetches nothing"
_RESTORE: Final = "restore it from a backup or another machine, or make it again with `rlaif run`"

_MIN_LARGE_BYTES: Final = 1 << 16
"""Size from which a file is not hashed with md5 too, which is slower, if its sha256 digest is the recorded one."""

ObjectState = HashedFile | str | None
"""The state of an object: intact, or a description of what is wrong, or None if it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreView:
    """A read-only view of a store.

    Attributes:
        root: The project's folder; paths are shown relative to it.
        cache: Its cache.
        config: DVC's settings.
        uses_remote: Whether the DVC remote may be asked for names and sizes of what is missing here.
    """

    root: Path
    cache: ObjectCache
    config: Mapping[str, Any]
    uses_remote: bool = False

    @classmethod
    def open(cls, root: Path, *, uses_remote: bool = False) -> "StoreView":
        """Opens a project's store without writing a byte (`Store.open` may correct `.dvc/config.local`).

        Raises:
            StorageError: If there is no store, or its settings are wrong.
        """
        config = read_config(root)
        folder = config["cache"].get("dir") or root / ".dvc" / "cache"
        return cls(root=root, cache=ObjectCache(Path(folder)), config=config, uses_remote=uses_remote)

    @property
    def is_own(self) -> bool:
        """Whether the cache belongs to this project only; a cache elsewhere may be shared."""
        return self.cache.folder.is_relative_to(self.root)

    def show(self, md5: str) -> str:
        """Shows where an object is."""
        return show_path(self.cache.path_of(md5), self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReading:
    """What an audit read from a store.

    Attributes:
        sound: Objects that match their names, by name (`<32 hex>` a file, `<32 hex>.dir` a tree).
        trees: The trees among them.
        num_hashed: Number of hashed objects.
        num_bytes: Number of hashed bytes.
        findings: What is wrong.
    """

    sound: Mapping[str, HashedFile]
    trees: Mapping[str, Tree]
    num_hashed: int
    num_bytes: int
    findings: tuple[Finding, ...]


def read_store(
    store: StoreView,
    records: Iterable[MaterialisationRecord],
    *,
    pinned: str | None,
    heads: Iterable[MaterialisationRecord],
    collected: Container[str],
    is_complete: bool,
    progress: Progress,
) -> StoreReading:
    """Hashes the versions that records name, and compares them with the records.

    Args:
        store: The store.
        records: The records whose versions are checked.
        pinned: The tree that `data.dvc` pins.
        heads: Records whose trees are also read, if present: they say what `data.dvc` should pin.
        collected: Addresses of versions that were pruned on purpose: they may be missing.
        is_complete: Whether to hash every other object of the store too.
        progress: Called with the number of hashed objects.
    """
    versions = list({(record.output.md5, record.output.digest): record for record in records}.values())
    needed = [record for record in versions if record.output.md5 not in collected]
    users = {record.output.md5: f"the files of {name_version(record)}" for record in reversed(needed)}
    if pinned is not None:
        users.setdefault(pinned, "the folder data/ that data.dvc pins")
    listed, findings = _list_objects(store) if is_complete else ([], [])
    heads_trees = [record.output.md5 for record in heads]
    outcomes = _hash_objects(store, [*users, *heads_trees, *filter(is_tree, listed)], {}, progress)
    trees: dict[str, Tree] = {}
    for md5, outcome in outcomes.items():
        if isinstance(outcome, HashedFile):
            try:
                trees[md5] = Tree.decode(store.cache.path_of(md5).read_bytes())
            except (OSError, ValueError, TypeError, RecursionError) as error:
                outcomes[md5] = f"bytes that are no tree object ({error})"
    recorded: dict[str, set[str]] = {}
    for record in versions:
        digests = {file.path: file.sha256 for file in record.output.files}
        for path, md5 in trees.get(record.output.md5, Tree(())).files:
            if record.output.md5 not in collected:
                users.setdefault(md5, f"{path} of {name_version(record)}")
            recorded.setdefault(md5, set()).add(digests.get(path, ""))
    rest = [md5 for md5 in dict.fromkeys([*users, *listed]) if md5 not in outcomes]
    outcomes |= _hash_objects(store, rest, recorded, progress)
    sound = {md5: outcome for md5, outcome in outcomes.items() if isinstance(outcome, HashedFile)}
    findings += _describe_damage(store, outcomes, users)
    findings += _describe_missing(store, [md5 for md5 in users if outcomes[md5] is None], users)
    for record in versions:
        if record.output.md5 in trees:
            findings += _compare_version(record, trees[record.output.md5], sound)
    hashed = [outcome for outcome in outcomes.values() if isinstance(outcome, HashedFile)]
    return StoreReading(
        sound=sound,
        trees=trees,
        num_hashed=sum(outcome is not None for outcome in outcomes.values()),
        num_bytes=sum(outcome.size for outcome in hashed),
        findings=tuple(findings),
    )


def find_unknown_objects(
    store: StoreView, reading: StoreReading, records: Iterable[MaterialisationRecord]
) -> Iterator[Finding]:
    """Yields intact objects that are neither a recorded version, nor a file of one, nor a state of `data/`."""
    files: set[str] = set()
    versions: dict[str, set[str]] = {}
    for record in records:
        files.update(file.sha256 for file in record.output.files)
        versions.setdefault(record.asset, set()).add(record.output.md5)
    trees = {md5 for md5s in versions.values() for md5 in md5s}
    for md5, hashed in sorted(reading.sound.items()):
        if md5 in trees if is_tree(md5) else hashed.digest.sha256 in files:
            continue
        if is_tree(md5) and all(
            asset in versions and subtree.md5 in versions[asset]
            for asset, subtree in split_tree(reading.trees[md5], versions).items()
        ):
            continue
        yield Finding(
            kind="object-unknown",
            place=store.show(md5),
            found=f"{hashed.size} bytes, {hashed.digest}",
            expected="objects of recorded versions only",
            remedy="nothing reads it: it was left by a run that was killed before its record was written, or its "
            "record was removed (compare lineage/ with git), or somebody put it there",
        )


def is_tree(md5: str) -> bool:
    """Says whether an object's name is that of a tree."""
    return md5.endswith(".dir")


def split_tree(whole: Tree, assets: Iterable[str]) -> dict[str, Tree]:
    """Splits a tree of `data/` by asset; a file of no asset is listed under its own path."""
    known = sorted(assets, key=len, reverse=True)
    files: dict[str, dict[str, str]] = {}
    for path, md5 in whole.files:
        asset = next((name for name in known if path.startswith(f"{name}/")), path)
        files.setdefault(asset, {})[path.removeprefix(f"{asset}/")] = md5
    return {asset: Tree.from_files(entries) for asset, entries in files.items()}


def _list_objects(store: StoreView) -> tuple[list[str], list[Finding]]:
    """Lists all objects by name; any other file is a finding."""
    folder = store.cache.folder / "files" / "md5"
    listed: list[str] = []
    findings: list[Finding] = []
    for path in sorted(walk_files(folder)):
        match = _OBJECT_PATH.fullmatch(path.relative_to(folder).as_posix())
        if match is not None:
            listed.append(match[1] + match[2])
            continue
        findings.append(
            Finding(
                kind="unknown-file",
                place=show_path(path, store.root),
                found="a name that is not an md5",
                expected="objects named by their md5",
                remedy="find out where it comes from; nothing reads it",
            )
        )
    return listed, findings


def walk_files(folder: Path) -> Iterator[Path]:
    """Yields everything below a folder except folders; links to folders are included."""
    for root, folder_names, file_names in os.walk(folder):
        yield from (Path(root, name) for name in file_names)
        yield from (path for name in folder_names if (path := Path(root, name)).is_symlink())


def _hash_objects(
    store: StoreView, md5s: Iterable[str], recorded: Mapping[str, Container[str]], progress: Progress
) -> dict[str, ObjectState]:
    """Hashes each object once, several at a time, and compares it with its name.

    Args:
        store: The store.
        md5s: Names of objects.
        recorded: The recorded sha256 digests of files, by name.
        progress: Called with the number of hashed objects.
    """
    names = list(dict.fromkeys(md5s))
    outcomes: dict[str, ObjectState] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        hashed = pool.map(lambda md5: _hash_object(store, md5, recorded.get(md5, ())), names)
        for md5, outcome in zip(names, hashed, strict=True):
            outcomes[md5] = outcome
            progress("objects", len(outcomes), len(names))
    return outcomes


def _hash_object(store: StoreView, md5: str, recorded: Container[str]) -> ObjectState:
    path = store.cache.path_of(md5)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "something that is not a regular file"
        if recorded and status.st_size >= _MIN_LARGE_BYTES:
            digest = Digest.from_file(path)
            if digest.sha256 in recorded:
                return HashedFile(size=status.st_size, md5=md5, digest=digest)
        hashed = hash_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"a file that cannot be read ({error.strerror or error})"
    if hashed.md5 != md5.removesuffix(".dir"):
        return f"{hashed.size} bytes, md5 {hashed.md5}, {hashed.digest}"
    return hashed


def _describe_damage(
    store: StoreView, outcomes: Mapping[str, ObjectState], users: Mapping[str, str]
) -> Iterator[Finding]:
    for md5, outcome in outcomes.items():
        if isinstance(outcome, str):
            use = users.get(md5)
            yield Finding(
                kind="object-changed",
                place=store.show(md5),
                found=outcome,
                expected=f"md5 {md5.removesuffix('.dir')}, by its name" + (f": {use}" if use else ""),
                remedy=_MOVE_AWAY,
            )


def _describe_missing(
    store: StoreView, missing: Sequence[str], users: Mapping[str, str]
) -> Iterator[Finding]:
    has_remote = bool(store.config["core"].get("remote"))
    remote = _ask_remote(store, missing) if missing and has_remote and store.uses_remote else {}
    for md5 in missing:
        elsewhere = remote.get(md5, "")
        if has_remote and not store.uses_remote:
            found, remedy = _NOT_HERE, _LOOK_IN_REMOTE
        elif elsewhere.startswith("; the remote"):
            found, remedy = "no such file" + elsewhere, _PULL
        else:
            found, remedy = "no such file" + elsewhere, _RESTORE
        yield Finding(
            kind="object-missing", place=store.show(md5), found=found, expected=users[md5], remedy=remedy
        )


def _ask_remote(store: StoreView, md5s: Sequence[str]) -> dict[str, str]:
    """Describes which objects the default remote has, by names and sizes; fetches nothing."""
    from rlaif_dagster.versioning.remote import Remote

    try:
        remote = Remote.open(store.root, store.config)
        if remote is None:
            return {}
        sizes = remote.measure(md5s)
    except StorageError as error:
        return dict.fromkeys(md5s, f" (the remote could not be asked: {str(error).partition(chr(10))[0]})")
    return {
        md5: f"; the remote {remote.name!r} has a file of that name, {sizes[md5]} bytes"
        if md5 in sizes
        else f" (the remote {remote.name!r} does not have it either)"
        for md5 in md5s
    }


def _compare_version(
    record: MaterialisationRecord, tree: Tree, sound: Mapping[str, HashedFile]
) -> Iterator[Finding]:
    """Compares a version's tree and bytes with its record; damaged objects are findings already."""
    stored = dict(tree.files)
    recorded = {file.path: file for file in record.output.files}
    remedy = "keep both as evidence: the record's address holds other content; restore it from the remote"
    for path in sorted(stored.keys() | recorded.keys()):
        hashed = sound.get(stored.get(path, ""))
        file = recorded.get(path)
        is_same = hashed is None or (file and (hashed.digest.sha256, hashed.size) == (file.sha256, file.size))
        if path in stored and file is not None and is_same:
            continue
        yield Finding(
            kind="version-differs",
            place=f"{name_version(record)} {path}",
            found="no such file"
            if path not in stored
            else "an object"
            if hashed is None
            else str(hashed.digest),
            expected="no such file"
            if file is None
            else f"sha256:{file.sha256}, {file.size} bytes, by the record",
            remedy=remedy,
        )
