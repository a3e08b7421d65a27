"""The index of the ledger: one file with what queries need, so that they need not read every record.

An entry depends only on its record's bytes, and records are named by their digest. So an entry is never out of date,
and entries of records that are no longer in the ledger do no harm. The file therefore needs neither locks nor
transactions: processes append whole lines to it. A line that was damaged by a full disk, a killed process or a disk
fault fails its checksum; it is ignored and its record is read again. The file can be deleted at any time.

Known trade-off (accepted): the checksum detects damage, not forgery. The audit reads the records, never this file.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe
from rlaif_dagster.removal import remove_file

FILE_NAME = "ledger-index-1"
"""The number is the version of the lines' format and meaning."""

_NUM_CHECK_DIGITS = 16
_NUM_SPARE_LINES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """The fields by which queries select a record.

    Attributes:
        record_id: 64 hex digits.
        previous: Ids of the records before it in the chain.
        sequence: Its number in the chain.
        ended_at: Seconds since 1970, UTC.
        asset: The asset.
        recipe: The digest of its recipe.
        maker: What made it, see `identify_maker`.
    """

    record_id: str
    previous: list[str]
    sequence: int
    ended_at: float
    asset: str
    recipe: str
    maker: str

    @classmethod
    def from_record(cls, record_id: str, record: MaterialisationRecord) -> "IndexEntry":
        """Takes from a record the fields that queries need."""
        return cls(
            record_id=record_id,
            previous=list(record.previous),
            sequence=record.sequence,
            ended_at=record.ended_at.timestamp(),
            asset=record.asset,
            recipe=record.recipe,
            maker=identify_maker(record.recipe_parts),
        )


def identify_maker(recipe: Recipe) -> str:
    """Identifies asset, code and engine: rows of other versions with the same identity can be reused."""
    return Digest.from_json([recipe.asset, recipe.code_version, recipe.engine]).sha256


def read_index(path: Path) -> dict[str, IndexEntry]:
    """Reads every valid entry, by record id; none if the file cannot be read.

    A file with many duplicates (processes that met the same new records at once) is rewritten.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return {}
    parted = (line.partition(b" ") for line in lines)
    bodies = [body for check, _, body in parted if body and check == _check(body)]
    entries = {
        entry["record_id"]: IndexEntry(**entry) for entry in json.loads(b"[%s]" % b",".join(bodies))
    }  # one call of the parser for all lines is twice as fast
    if len(lines) > 4 * len(entries) + _NUM_SPARE_LINES:
        with suppress(OSError):
            remove_file(path)
        add_to_index(path, entries.values())
    return entries


def add_to_index(path: Path, entries: Iterable[IndexEntry]) -> None:
    """Adds entries, if the file can be written.

    The line break before each entry separates it from an unfinished line that a killed process may have left.
    """
    bodies = [canonical_json(asdict(entry)) for entry in entries]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as stream:
            stream.write(b"".join(b"\n%s %s\n" % (_check(body), body) for body in bodies))


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_NUM_CHECK_DIGITS].encode()
