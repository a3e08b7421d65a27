"""The store: every object hashed, every version held against its record. Reads only, and fetches nothing."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.auditing.findings import Finding, show_path
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.progress import Progress
from rlaif_dagster.versioning.objects import HashedFile, ObjectCache, hash_file
from rlaif_dagster.versioning.tree import Tree

_OBJECT_PATH = re.compile(r"([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)")
_MOVE_AWAY: Final = (
    "leave it as evidence; when you have looked into it, move it out of the cache, and `rlaif run` fetches it from "
    "the remote or makes it anew"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReading:
    """What an audit could read of a store.

    Attributes:
        sound: Objects that hash to their names, by name (`<32 hex>` a file, `<32 hex>.dir` a tree).
        trees: Those among them that are trees, read.
        num_hashed: Objects whose bytes were hashed.
        num_bytes: Bytes that were hashed.
        findings: What is wrong.
    """

    sound: Mapping[str, HashedFile]
    trees: Mapping[str, Tree]
    num_hashed: int
    num_bytes: int
    findings: tuple[Finding, ...]


@dataclass(slots=True, kw_only=True)
class StoreAudit:
    """One look at the objects of a store.

    Attributes:
        root: The project, by which places are named.
        cache: The store's objects.
        config: DVC's settings, for the remote.
        progress: Told how many objects are hashed.
    """

    root: Path
    cache: ObjectCache
    config: Mapping[str, Any]
    progress: Progress
    _sound: dict[str, HashedFile] = field(default_factory=dict)
    _trees: dict[str, Tree] = field(default_factory=dict)
    _missing: dict[str, None] = field(default_factory=dict)
    _num_hashed: int = 0
    _num_bytes: int = 0
    _findings: list[Finding] = field(default_factory=list)
    _users: dict[str, str] = field(default_factory=dict)
    """What an object is needed for, in words."""

    def read(
        self,
        records: Iterable[MaterialisationRecord],
        *,
        pinned: str | None,
        others: Iterable[MaterialisationRecord],
        is_complete: bool,
    ) -> StoreReading:
        """Hashes what records name.

        Args:
            records: The records whose versions are proven.
            pinned: The tree that `data.dvc` pins.
            others: Records of which only the trees are looked at, for what `data.dvc` pins.
            is_complete: Whether to hash every other object of the store as well.
        """
        versions = {(record.output.md5, record.output.digest): record for record in records}
        for record in versions.values():
            self._users.setdefault(record.output.md5, f"the tree of {name_version(record)}")
        if pinned is not None:
            self._users[pinned] = "the tree of all of data/, which data.dvc pins"
        wanted = list(dict.fromkeys(self._users))
        listed = self._list_objects() if is_complete else {}
        trees = [*wanted, *(record.output.md5 for record in others), *filter(_is_tree, listed)]
        self._hash(dict.fromkeys(trees))
        self._read_trees()
        for record in versions.values():
            for path, md5 in self._trees.get(record.output.md5, Tree(())).files:
                self._users.setdefault(md5, f"{path} of {name_version(record)}")
        self._hash(dict.fromkeys([*self._users, *listed]))
        self._report_missing()
        for record in versions.values():
            self._compare_version(record)
        return StoreReading(
            sound=self._sound,
            trees=self._trees,
            num_hashed=self._num_hashed,
            num_bytes=self._num_bytes,
            findings=tuple(self._findings),
        )

    def find_unknown(self, records: Iterable[MaterialisationRecord]) -> Iterator[Finding]:
        """Yields sound objects that are neither a recorded version, nor a file of one, nor a state of `data/`."""
        digests: set[str] = set()
        versions: dict[str, set[str]] = {}
        for record in records:
            digests.update(file.sha256 for file in record.output.files)
            versions.setdefault(record.asset, set()).add(record.output.md5)
        trees = set().union(*versions.values())
        for md5, hashed in sorted(self._sound.items()):
            if md5 in trees if _is_tree(md5) else hashed.digest.sha256 in digests:
                continue
            tree = self._trees.get(md5)
            if tree is not None and is_state_of_data(tree, versions):
                continue
            yield Finding(
                kind="object-unknown",
                place=show_path(self.cache.path_of(md5), self.root),
                found=f"{hashed.size} bytes, {hashed.digest}",
                expected="objects of recorded versions only",
                remedy="nothing reads it: it was left by a run that was killed before its record was written, or it "
                "belongs to a record that was removed (compare lineage/ with git), or somebody put it there",
            )

    def _list_objects(self) -> dict[str, None]:
        """Lists all objects; what is no object is a finding."""
        folder = self.cache.folder / "files" / "md5"
        listed: dict[str, None] = {}
        for path in sorted(_walk(folder)):
            match = _OBJECT_PATH.fullmatch(path.relative_to(folder).as_posix())
            if match is None:
                self._findings.append(
                    Finding(
                        kind="unknown-file",
                        place=show_path(path, self.root),
                        found="a name that is no object's",
                        expected="objects named by their md5",
                        remedy="find out where it comes from; nothing reads it",
                    )
                )
            else:
                listed[match[1] + match[2]] = None
        return listed

    def _hash(self, md5s: Iterable[str]) -> None:
        """Hashes objects that were not hashed before and compares each with its name."""
        new = [md5 for md5 in md5s if md5 not in self._sound and md5 not in self._missing]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for number, (md5, got) in enumerate(zip(new, pool.map(self._try_hash, new), strict=True), 1):
                self.progress("objects", number, len(new))
                if got is None:
                    self._missing[md5] = None
                    continue
                if isinstance(got, HashedFile):
                    self._num_hashed += 1
                    self._num_bytes += got.size
                    if got.md5 == md5.removesuffix(".dir"):
                        self._sound[md5] = got
                        continue
                    got = f"{got.size} bytes, md5 {got.md5}, {got.digest}"
                self._missing[md5] = None
                self._report_damage(md5, got)

    def _try_hash(self, md5: str) -> HashedFile | str | None:
        """Hashes an object; None if it is not there, words if it cannot be read."""
        path = self.cache.path_of(md5)
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return "something that is not a regular file"
            return hash_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return f"it cannot be read ({error.strerror or error})"

    def _read_trees(self) -> None:
        for md5 in filter(_is_tree, self._sound):
            try:
                self._trees[md5] = Tree.decode(self.cache.path_of(md5).read_bytes())
            except (OSError, ValueError, TypeError, RecursionError) as error:
                self._report_damage(md5, f"no tree object ({error})")
