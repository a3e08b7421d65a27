"""The ledger: a folder of immutable records, one file each, named by the sha256 of its bytes.

Files are only ever added, so two writers on two machines merge by the union of their folders (`git merge` does it);
within one project a file lock orders the writers. Names are checked against bytes when records are read.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import LedgerError, StorageError
from rlaif_dagster.lineage.record import MaterialisationRecord

SUFFIX = ".json"


class Ledger:
    """The records of one project, oldest first.

    Records are ordered by (sequence, end time, id); with one writer this is the order in which they were written.
    """

    def __init__(self, folder: Path, *, lock: Path) -> None:
        """Opens a ledger; nothing is created before the first record.

        Args:
            folder: Where the records are.
            lock: The file whose lock orders the writers.
        """
        self._folder = folder
        self._lock_path = lock
        self._records: dict[str, MaterialisationRecord] = {}
        self._ordered: list[MaterialisationRecord] = []

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self._folder

    def records(self) -> list[MaterialisationRecord]:
        """All records, oldest first.

        Raises:
            LedgerError: If a record is missing, its bytes do not hash to its name, or they are not a record.
        """
        self._refresh()
        if len(self._ordered) != len(self._records):
            by_id = sorted(
                self._records.items(), key=lambda item: (item[1].sequence, item[1].ended_at, item[0])
            )
            self._require_chain()
            self._ordered = [record for _, record in by_id]
        return self._ordered

    def find_head(self, asset: str) -> MaterialisationRecord | None:
        """The newest record of an asset, or None if it was never materialised."""
        return next((record for record in reversed(self.records()) if record.asset == asset), None)

    def find_heads(self) -> dict[str, MaterialisationRecord]:
        """The newest record of every asset."""
        return {record.asset: record for record in self.records()}

    def find_recipe(self, recipe: Digest) -> Iterator[MaterialisationRecord]:
        """Yields the records of a recipe, newest first."""
        return (record for record in reversed(self.records()) if record.recipe == str(recipe))

    def append(
        self, make_record: Callable[[int, tuple[str, ...]], MaterialisationRecord]
    ) -> MaterialisationRecord:
        """Adds a record to the end of the chain.

        Args:
            make_record: Makes the record from its sequence number and the ids of the newest records.

        Raises:
            StorageError: If the record cannot be written.
        """
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock_path):
                self._refresh()
                named = {name for record in self._records.values() for name in record.previous}
                newest = tuple(sorted(set(self._records) - named))
                sequence = 1 + max((self._records[name].sequence for name in newest), default=0)
                record = make_record(sequence, newest)
                self._write(record)
        except OSError as error:
            raise StorageError(
                f"{self._folder}: the lineage record cannot be written ({error.strerror or error}).\n"
                "  remedy: free disk space or mend the permissions, then run again"
            ) from error
        self._records[record.record_id] = record
        return record

    def adopt(self, files: Iterable[Path]) -> int:
        """Takes over records that another copy of the ledger wrote, all or, when cut off, the older of them.

        Args:
            files: Record files, named as in a ledger; those that are here already are passed over.

        Raises:
            LedgerError: If one is damaged, or a record that one was written after is in neither; none is taken then.
            StorageError: If one cannot be written.
        """
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock_path):
                self._refresh()
                known = set(self._records)
                new = {
                    file.name.removesuffix(SUFFIX): _read_record(file)
                    for file in files
                    if file.name.removesuffix(SUFFIX) not in known
                }
                for record_id, record in new.items():
                    for previous in record.previous:
                        if previous not in known and previous not in new:
                            raise LedgerError(
                                f"the record {record_id} was written after {previous}, which is in neither ledger.\n"
                                "  remedy: push again from the machine that wrote them"
                            )
                for record in sorted(new.values(), key=lambda record: record.sequence):
                    self._write(record)
                self._refresh()
        except OSError as error:
            raise StorageError(
                f"{self._folder}: the lineage records cannot be written ({error.strerror or error}).\n"
                "  remedy: free disk space or mend the permissions, then run again"
            ) from error
        return len(new)

    def _require_chain(self) -> None:
        for record_id, record in self._records.items():
            for previous in record.previous:
                if previous not in self._records:
                    raise LedgerError(
                        f"{self._folder}: the record {previous} is missing; {record_id} was written after it.\n"
                        "  remedy: restore the file from git, a backup or the remote"
                    )

    def _write(self, record: MaterialisationRecord) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{record.record_id}{SUFFIX}"
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as stream:
                stream.write(record.to_bytes())
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _refresh(self) -> None:
        if not self._folder.is_dir():
            return
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
        for name in names:
            record_id = name.removesuffix(SUFFIX)
            if record_id not in self._records:
                self._records[record_id] = _read_record(self._folder / name)


def _read_record(path: Path) -> MaterialisationRecord:
    data = path.read_bytes()
    if Digest.from_bytes(data).sha256 != path.name.removesuffix(SUFFIX):
        raise LedgerError(
            f"{path}: the record's bytes do not hash to its name; it was changed after it was written.\n"
            "  remedy: restore the file from git, a backup or the remote; do not edit records"
        )
    return MaterialisationRecord.from_bytes(data, name=str(path))
