"""The ledger: a folder of immutable records, one file each, named by the sha256 of its bytes.

Files are only ever added, so the ledgers of two machines merge by the union of their folders (`git merge` does it).
Within one project a file lock orders the writers. Queries go through an index (`ledger_index`) and read only what they
return; names are checked against bytes when records are read.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import LedgerError
from rlaif_dagster.lineage.ledger_index import (
    FILE_NAME,
    IndexEntry,
    add_to_index,
    identify_maker,
    read_index,
)
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe
from rlaif_dagster.versioning.scratch import held_lock, raising_storage_errors, write_whole

RECORD_SUFFIX = ".json"

_CLOCK_GRAIN_NS = 2_000_000_000
"""Two changes of a folder less than this many ns apart may leave the same modification time."""


class Ledger:
    """The records of one project, oldest first.

    Records are ordered by (sequence, end time, id); with one writer this is the order in which they were written.
    Every query sees what other processes and git have added or removed since the last one.
    """

    def __init__(self, folder: Path, *, scratch: Path) -> None:
        """Opens a ledger; nothing is created before the first record.

        Args:
            folder: Where the records are.
            scratch: This machine's own folder, for the writers' lock and the index; readers need no permission to write
                there.
        """
        self._folder = folder
        self._scratch = scratch
        self._index_path = scratch / FILE_NAME
        self._entries: dict[str, IndexEntry] = {}
        self._records: dict[str, MaterialisationRecord] = {}
        self._ordered: list[IndexEntry] = []
        self._names: set[str] = set()
        self._groups: dict[str, dict[str, list[str]]] = {}
        self._seen_ns: int | None = None

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self._folder

    def records(self) -> list[MaterialisationRecord]:
        """All records, oldest first.

        Raises:
            LedgerError: If a record is missing, its bytes do not hash to its name, or they are not a record.
            StorageError: If one cannot be read.
        """
        return [self._read(entry.record_id) for entry in self._look()]

    def find_head(self, asset: str) -> MaterialisationRecord | None:
        """The newest record of an asset, or None if it was never materialised."""
        return next(self.find_asset(asset), None)

    def find_asset(self, asset: str) -> Iterator[MaterialisationRecord]:
        """Yields the records of an asset, newest first."""
        return self._find("asset", asset)

    def find_heads(self) -> dict[str, MaterialisationRecord]:
        """The newest record of every asset."""
        return {asset: self._read(names[-1]) for asset, names in self._group("asset").items()}

    def find_recipe(self, recipe: Digest) -> Iterator[MaterialisationRecord]:
        """Yields the records of a recipe, newest first."""
        return self._find("recipe", str(recipe))

    def find_made_alike(self, recipe: Recipe) -> Iterator[MaterialisationRecord]:
        """Yields the records of an asset that the same code and engine made, newest first."""
        return self._find("maker", identify_maker(recipe))

    def append(
        self, make_record: Callable[[int, tuple[str, ...]], MaterialisationRecord]
    ) -> MaterialisationRecord:
        """Adds a record to the end of the chain.

        Args:
            make_record: Makes the record from its sequence number and the ids of the newest records.

        Raises:
            LedgerError: If the chain is broken.
            StorageError: If the record cannot be written.
        """
        with (
            raising_storage_errors(f"{self._folder}: the lineage record cannot be written"),
            held_lock(self._scratch / "locks" / "ledger.lock"),
        ):
            self._seen_ns = None
            entries = self._look()
            named = {name for entry in entries for name in entry.previous}
            newest = [entry for entry in entries if entry.record_id not in named]
            sequence = 1 + max((entry.sequence for entry in newest), default=0)
            record = make_record(sequence, tuple(sorted(entry.record_id for entry in newest)))
            record_id = self._write(record.to_bytes())
        self._learn({record_id: record})
        return record

    def adopt(self, files: Iterable[Path]) -> int:
        """Takes over records that another copy of the ledger wrote; returns how many were new.

        If it is interrupted, the older of them are here and the chain is complete.

        Args:
            files: Record files, named as in a ledger; those that are here already are skipped.

        Raises:
            LedgerError: If one is damaged, or a predecessor of one is in neither ledger; then none is taken.
            StorageError: If one cannot be written.
        """
        with (
            raising_storage_errors(f"{self._folder}: the lineage records cannot be written"),
            held_lock(self._scratch / "locks" / "ledger.lock"),
        ):
            self._seen_ns = None
            known = {entry.record_id for entry in self._look()}
            found = {file.name.removesuffix(RECORD_SUFFIX): file for file in files}
            new = {
                record_id: read_record(file) for record_id, file in found.items() if record_id not in known
            }
            for record_id, record in new.items():
                for previous in record.previous:
                    if previous not in known and previous not in new:
                        raise LedgerError(
                            f"the record {record_id} was written after {previous}, which is in neither ledger.\n"
                            "  remedy: push again from the machine that wrote them"
                        )
            for record_id, _ in sorted(new.items(), key=lambda item: item[1].sequence):
                self._write(found[record_id].read_bytes())
        self._learn(new)
        return len(new)

    def _find(self, field: str, value: str) -> Iterator[MaterialisationRecord]:
        return map(self._read, reversed(self._group(field).get(value, [])))

    def _group(self, field: str) -> dict[str, list[str]]:
        """Groups the ids of the records by a field of their entries, oldest first."""
        entries = self._look()
        if field not in self._groups:
            groups: dict[str, list[str]] = {}
            for entry in entries:
                groups.setdefault(getattr(entry, field), []).append(entry.record_id)
            self._groups[field] = groups
        return self._groups[field]

    def _look(self) -> list[IndexEntry]:
        """Lists the folder again; returns every record's entry, oldest first."""
        with raising_storage_errors(self._folder):
            now_ns, changed_ns = time.time_ns(), _read_change_time(self._folder)
            if changed_ns == self._seen_ns:
                return self._ordered
            names = _list_names(self._folder) if changed_ns else set()
        if names != self._names:
            names = self._learn_all(names)
            self._ordered = sorted(
                (self._entries[name] for name in names),
                key=lambda entry: (entry.sequence, entry.ended_at, entry.record_id),
            )
            self._names = names
            self._groups = {}
        self._seen_ns = changed_ns if changed_ns < now_ns - _CLOCK_GRAIN_NS else None
        return self._ordered

    def _learn_all(self, names: set[str]) -> set[str]:
        """Reads the entries of listed records; adds predecessors that the listing missed.

        A listing may lack a file that was added during the listing, and contain one that was added later.
        """
        if not names <= self._entries.keys():
            self._entries |= read_index(self._index_path)
        known, todo = set[str](), names
        while todo:
            self._learn({name: self._read(name) for name in todo - self._entries.keys()})
            known |= todo
            todo = {previous for name in todo for previous in self._entries[name].previous} - known
            for name in todo:
                self._require_file(name)
        return known

    def _learn(self, records: dict[str, MaterialisationRecord]) -> None:
        entries = {name: IndexEntry.from_record(name, record) for name, record in records.items()}
        self._records |= records
        self._entries |= entries
        if entries:
            add_to_index(self._index_path, entries.values())

    def _read(self, record_id: str) -> MaterialisationRecord:
        """Reads a record once and checks that its bytes match its name."""
        if record_id in self._records:
            return self._records[record_id]
        path = self._path_of(record_id)
        with raising_storage_errors(path):
            self._require_file(record_id)
            record = read_record(path)
        self._records[record_id] = record
        return record

    def _require_file(self, record_id: str) -> None:
        if not self._path_of(record_id).is_file():
            raise LedgerError(
                f"{self._folder}: the record {record_id} is missing; another was written after it.\n"
                "  remedy: restore the file from git, a backup or the remote"
            )

    def _write(self, data: bytes) -> str:
        record_id = Digest.from_bytes(data).sha256
        write_whole(self._path_of(record_id), data, scratch=self._scratch / "scratch")
        return record_id

    def _path_of(self, record_id: str) -> Path:
        return self._folder / f"{record_id}{RECORD_SUFFIX}"


def read_record(path: Path) -> MaterialisationRecord:
    """Reads a record's file and checks that its bytes match its name.

    Raises:
        LedgerError: If they do not match, or the file is not a record.
    """
    data = path.read_bytes()
    if Digest.from_bytes(data).sha256 != path.name.removesuffix(RECORD_SUFFIX):
        raise LedgerError(
            f"{path}: the record's bytes do not hash to its name; it was changed after it was written.\n"
            "  remedy: restore the file from git, a backup or the remote; do not edit records"
        )
    return MaterialisationRecord.from_bytes(data, name=str(path))


def _read_change_time(folder: Path) -> int:
    """Reads when a file was last added to or removed from a folder, in ns; 0 if there is no folder."""
    if not folder.is_dir():
        return 0
    status = folder.stat()
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _list_names(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {
            entry.name.removesuffix(RECORD_SUFFIX) for entry in entries if entry.name.endswith(RECORD_SUFFIX)
        }
