"""Audits the ledger: every file in `lineage/`, its name, its form, and what records say about each other."""

import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, TypeVar

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import LedgerError, StorageError
from rlaif_dagster.lineage.auditing.findings import Finding, show_path
from rlaif_dagster.lineage.collecting.notes import FOLDER as NOTES
from rlaif_dagster.lineage.collecting.notes import PruneNote
from rlaif_dagster.lineage.ledger import RECORD_SUFFIX
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.upgrades import find_former_recipes
from rlaif_dagster.versioning.tree import check_asset, check_tree_md5, is_plain_path

_RECORD_NAME = re.compile(r"[0-9a-f]{64}" + re.escape(RECORD_SUFFIX))
_Content = TypeVar("_Content", MaterialisationRecord, PruneNote)
_RESTORE: Final = "keep the file as evidence, then restore the record from git, a backup or the remote"
_FORGED: Final = (
    "this program never writes such a record: find out who wrote it (git log), and restore lineage/ from git"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReading:
    """What an audit read from a ledger.

    Attributes:
        records: The valid records by id, oldest first.
        is_whole: Whether every record that exists or is named by another is valid. If not, checks that need all records
            cannot be made.
        notes: The valid notes of what was pruned.
        findings: What is wrong with the other files.
    """

    records: Mapping[str, MaterialisationRecord]
    is_whole: bool
    notes: tuple[PruneNote, ...]
    findings: tuple[Finding, ...]

    @property
    def heads(self) -> dict[str, MaterialisationRecord]:
        """The newest valid record of every asset."""
        return {record.asset: record for record in self.records.values()}

    @property
    def head_ids(self) -> dict[str, str]:
        """The ids of the newest valid records, by asset."""
        return {record.asset: record_id for record_id, record in self.records.items()}


def name_version(record: MaterialisationRecord) -> str:
    """Names a version for people: `asset@<12 hex digits>`."""
    return f"{record.asset}@{record.output.digest.removeprefix('sha256:')[:12]}"


def read_ledger(folder: Path, root: Path) -> LedgerReading:
    """Reads every record, and reports those that cannot be read.

    Args:
        folder: The ledger's folder.
        root: The project's folder; paths are shown relative to it.

    Raises:
        OSError: If the folder cannot be listed.
    """
    findings: list[Finding] = []
    records: dict[str, MaterialisationRecord] = {}
    damaged: set[str] = set()
    notes: dict[str, PruneNote] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name == NOTES and path.is_dir() and not path.is_symlink():
            for note_path in sorted(path.iterdir()):
                note = _read_note(note_path, root)
                if isinstance(note, PruneNote):
                    notes[note_path.stem] = note
                else:
                    findings.append(note)
            continue
        outcome = _read_record(path, root)
        if isinstance(outcome, MaterialisationRecord):
            records[path.stem] = outcome
        else:
            findings.append(outcome)
            if _RECORD_NAME.fullmatch(path.name):
                damaged.add(path.stem)
    ordered = dict(sorted(records.items(), key=lambda item: (item[1].sequence, item[1].ended_at, item[0])))
    missing = list(_find_missing(ordered, notes, damaged, folder=show_path(folder, root)))
    findings += missing
    is_whole = not damaged and not missing
    for record_id, record in ordered.items():
        place = f"{show_path(folder / record_id, root)}{RECORD_SUFFIX}"
        findings += _check_record(record, place)
        findings += _check_links(record, place, ordered)
    if is_whole:
        findings += _check_inputs(ordered, show_path(folder, root))
    return LedgerReading(
        records=ordered, is_whole=is_whole, notes=tuple(notes.values()), findings=tuple(findings)
    )


def _read_record(path: Path, root: Path) -> MaterialisationRecord | Finding:
    def read(data: bytes) -> MaterialisationRecord | str:
        record = MaterialisationRecord.from_bytes(data, name=show_path(path, root))
        if record.started_at.tzinfo is None or record.ended_at.tzinfo is None:
            return "times without a time zone"
        return record if record.to_bytes() == data else "a record that is not written as canonical JSON"

    return _read_named(path, root, read, "lineage record")


def _read_note(path: Path, root: Path) -> PruneNote | Finding:
    def read(data: bytes) -> PruneNote | str:
        note = PruneNote.model_validate_json(data)
        return note if note.to_bytes() == data else "a note that is not written as canonical JSON"

    return _read_named(path, root, read, "note of a collection")


def _read_named(
    path: Path, root: Path, read: Callable[[bytes], _Content | str], what: str
) -> _Content | Finding:
    """Reads a file that is named by the digest of its bytes."""
    place = show_path(path, root)
    is_named = _RECORD_NAME.fullmatch(path.name) is not None
    try:
        is_file = stat.S_ISREG(path.lstat().st_mode)
        data = path.read_bytes() if is_file else b""
    except OSError as error:
        return Finding(
            kind="record-changed",
            place=place,
            found=f"it cannot be read ({error.strerror or error})",
            expected="a readable file",
            remedy="correct the permissions or the disk, then audit again",
        )
    digest = Digest.from_bytes(data).sha256
    if not is_named or not is_file:
        return Finding(
            kind="unknown-file",
            place=place,
            found=f"a file whose bytes hash to {digest}"
            if is_file
            else "something that is not a regular file",
            expected=f"only {what}s, named <sha256 of their bytes>{RECORD_SUFFIX}",
            remedy="find out where it comes from; a .tmp file is left by a killed run and can be removed",
        )
    if digest != path.stem:
        return Finding(
            kind="record-changed",
            place=place,
            found=f"bytes that hash to {digest}",
            expected=f"bytes that hash to {path.stem}, as the file's name says",
            remedy=_RESTORE,
        )
    try:
        content = read(data)
        if not isinstance(content, str):
            return content
        found = content
    except (LedgerError, ValueError, RecursionError) as error:
        found = f"no {what}: {str(error).partition(chr(10))[0][:200]}"
    return Finding(kind="record-invalid", place=place, found=found, expected=f"a {what}", remedy=_FORGED)


def _find_missing(
    records: Mapping[str, MaterialisationRecord],
    notes: Mapping[str, PruneNote],
    damaged: set[str],
    *,
    folder: str,
) -> Iterator[Finding]:
    named_by: dict[str, str] = {}
    for note_id, note in notes.items():
        for newest in note.newest:
            if newest not in records and newest not in damaged:
                named_by[newest] = f"{NOTES}/{note_id}"
    for record_id, record in records.items():
        for name in (*record.previous, record.reused_from):
            if name is not None and name not in records and name not in damaged:
                named_by[name] = record_id
    for name, record_id in named_by.items():
        yield Finding(
            kind="record-missing",
            place=f"{folder}/{name}{RECORD_SUFFIX}",
            found="no such file",
            expected=f"the record that {record_id} names",
            remedy="restore the file from git, a backup or the remote",
        )


def _check_record(record: MaterialisationRecord, place: str) -> Iterator[Finding]:
    """Checks that a record is consistent with itself."""

    def contradict(kind: str, found: str, expected: str) -> Finding:
        return Finding(kind=kind, place=place, found=found, expected=expected, remedy=_FORGED)

    parts = record.recipe_parts
    if record.recipe != str(parts.digest):
        yield contradict(
            "record-recipe", f"recipe {record.recipe}", f"{parts.digest}, the digest of its parts"
        )
    if record.asset != parts.asset:
        yield contradict("record-recipe", f"asset {record.asset}", f"{parts.asset}, as in the recipe")
    if record.former_recipe is not None:
        former = [str(one.recipe.digest) for one in find_former_recipes(parts)]
        if record.reused_from is None or record.former_recipe not in former:
            yield contradict(
                "record-reuse",
                f"a version made by recipe {record.former_recipe}"
                + ("" if record.reused_from else ", reused from nowhere"),
                f"one that was reused, and made by {' or '.join(former) or 'the recipe itself'}",
            )
    read = {name: version.digest for name, version in record.inputs.items()}
    if read != parts.inputs:
        yield contradict("record-recipe", f"inputs {read}", f"{parts.inputs}, as in the recipe")
    output = record.output
    content = Digest.from_json([[file.path, f"sha256:{file.sha256}"] for file in output.files])
    if output.digest != str(content):
        yield contradict("record-output", f"digest {output.digest}", f"{content}, by its list of files")
    size = sum(file.size for file in output.files)
    if output.size != size:
        yield contradict("record-output", f"{output.size} bytes", f"{size} bytes, by its list of files")
    paths = [file.path for file in output.files]
    if paths != sorted(set(paths)) or not all(map(is_plain_path, paths)):
        yield contradict("record-output", f"files {paths}", "plain paths, each once, in order")
    try:
        check_asset(record.asset)
        check_tree_md5(output.md5)
    except StorageError as error:
        yield contradict("record-output", str(error).partition("\n")[0], "an asset's name and DVC's address")
    if record.ended_at < record.started_at:
        yield contradict("record-chain", f"ended {record.ended_at}", f"a time after {record.started_at}")


def _check_links(
    record: MaterialisationRecord, place: str, records: Mapping[str, MaterialisationRecord]
) -> Iterator[Finding]:
    """Compares a record with the records that it names, as far as they exist."""
    if all(name in records for name in record.previous):
        sequence = 1 + max((records[name].sequence for name in record.previous), default=0)
        if record.sequence != sequence:
            yield Finding(
                kind="record-chain",
                place=place,
                found=f"sequence {record.sequence}",
                expected=f"{sequence}, one more than the highest before it",
                remedy=_FORGED,
            )
    origin = records.get(record.reused_from) if record.reused_from is not None else None
    if origin is not None and (
        origin.asset,
        origin.made_by,
        origin.output,
        origin.sequence < record.sequence,
    ) != (
        record.asset,
        record.made_by,
        record.output,
        True,
    ):
        yield Finding(
            kind="record-reuse",
            place=place,
            found=f"{name_version(record)} made by recipe {record.made_by}",
            expected=f"{name_version(origin)} made by recipe {origin.made_by}, as in {record.reused_from}, before it",
            remedy=_FORGED,
        )


@dataclass(frozen=True, slots=True)
class _Verdicts:
    """The check results of one record: the blocking checks that failed, and all that passed."""

    failed_gates: frozenset[str]
    passed: frozenset[str]

    @classmethod
    def from_record(cls, record: MaterialisationRecord) -> "_Verdicts":
        passed = frozenset(check.name for check in record.checks if check.passed)
        return cls(frozenset(record.failed_gates), passed)


def _doubt_override(place: str, asset: str, digest: str, checks: list[str]) -> Finding:
    return Finding(
        kind="record-override",
        place=place,
        found=f"an override of {', '.join(checks)} of {asset} {digest}",
        expected="overrides of failed checks of versions that were read",
        remedy=_FORGED,
    )


def _check_inputs(records: Mapping[str, MaterialisationRecord], folder: str) -> Iterator[Finding]:
    """Checks that an earlier record made each version that was read.

    Many records may have made a version. Only the different results of their checks are kept.
    """
    makers: dict[tuple[str, str, str], dict[_Verdicts, None]] = {}
    for _, group in groupby(records.items(), key=lambda item: item[1].sequence):
        alike = list(
            group
        )  # records with the same number were written on different machines: none is before another
        for record_id, record in alike:
            yield from _check_read(record, f"{folder}/{record_id}{RECORD_SUFFIX}", makers)
        for _, record in alike:
            version = (record.asset, record.output.digest, record.output.md5)
            makers.setdefault(version, {})[_Verdicts.from_record(record)] = None


def _check_read(
    record: MaterialisationRecord,
    place: str,
    makers: Mapping[tuple[str, str, str], Mapping[_Verdicts, None]],
) -> Iterator[Finding]:
    """Compares what a record read with what earlier records made."""
    for override in record.overrides:
        version = record.inputs.get(override.asset)
        if version is None or version.digest != override.digest:
            yield _doubt_override(place, override.asset, override.digest, [override.check])
    for name, version in record.inputs.items():
        earlier = list(makers.get((name, version.digest, version.md5), ()))
        let_pass = {o.check for o in record.overrides if (o.asset, o.digest) == (name, version.digest)}
        unmade = [check for check in sorted(let_pass) if all(check in maker.passed for maker in earlier)]
        if unmade:
            yield _doubt_override(place, name, version.digest, unmade)
        blocked = [sorted(maker.failed_gates - let_pass) for maker in earlier]
        if earlier and not all(blocked):
            continue
        yield Finding(
            kind="record-input",
            place=place,
            found=f"{record.asset} read {name} {version.digest} (md5 {version.md5})"
            + (f", which failed {', '.join(blocked[0])}" if blocked else ""),
            expected="a version that passed its blocking checks"
            if blocked
            else "a version that an earlier record made",
            remedy=_FORGED,
        )
