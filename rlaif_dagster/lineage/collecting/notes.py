"""Notes of what `rlaif gc` pruned: one immutable file per run, `lineage/collected/<sha256 of its bytes>.json`.

A note tells an audit which missing bytes were pruned on purpose, by which rules and when. It applies to versions that
were recorded before it: a version that was recorded again later must be there.
"""

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.errors import LedgerError
from rlaif_dagster.lineage.ledger import RECORD_SUFFIX
from rlaif_dagster.lineage.record import MaterialisationRecord

FOLDER: Final = "collected"
"""The folder of notes, inside the ledger's folder."""


class PrunedVersion(BaseModel):
    """A pruned version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asset: str
    digest: str
    md5: str


class PruneNote(BaseModel):
    """What one `rlaif gc` pruned.

    `newest` names the newest records at that time, so that the note shows if they disappear later. `sequence` is the
    highest of their numbers. The time is UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    when: datetime.datetime
    keep: tuple[str, ...]
    newest: tuple[str, ...]
    sequence: int
    versions: tuple[PrunedVersion, ...]

    def to_bytes(self) -> bytes:
        """The bytes of the file: canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


def read_note(path: Path) -> PruneNote:
    """Reads a note and checks that its bytes match its name.

    Raises:
        LedgerError: If they do not match, or the file is not a note.
    """
    data = path.read_bytes()
    try:
        if Digest.from_bytes(data).sha256 == path.name.removesuffix(RECORD_SUFFIX):
            return PruneNote.model_validate_json(data)
        problem = "its bytes do not hash to its name; it was changed after it was written"
    except ValidationError as error:
        problem = f"not a note of a collection ({error})"
    raise LedgerError(
        f"{path}: {problem}.\n  remedy: restore the file from git or a backup; do not edit notes"
    )


def read_notes(ledger_folder: Path) -> list[PruneNote]:
    """Reads every note of a ledger.

    Raises:
        LedgerError: If one is damaged.
    """
    return [read_note(path) for path in sorted((ledger_folder / FOLDER).glob(f"*{RECORD_SUFFIX}"))]


def find_pruned(
    notes: Iterable[PruneNote], records: Iterable[MaterialisationRecord]
) -> Mapping[str, PruneNote]:
    """Finds the addresses of versions that were pruned and not recorded again since, each with its newest note.

    Args:
        notes: The notes.
        records: The ledger's records.
    """
    recorded: dict[str, int] = {}
    for record in records:
        recorded[record.output.md5] = max(record.sequence, recorded.get(record.output.md5, 0))
    return {
        version.md5: note
        for note in sorted(notes, key=lambda note: (note.sequence, note.when))
        for version in note.versions
        if recorded.get(version.md5, 0) <= note.sequence
    }
