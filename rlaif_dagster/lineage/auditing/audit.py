"""Runs an audit: selects records, then checks ledger, store, `data.dvc`, `data/`, rows and events.

Nothing is written, fetched, repaired or removed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.overrides import OVERRIDES_FILE
from rlaif_dagster.inputs.release import RELEASE_FILE
from rlaif_dagster.lineage import versions
from rlaif_dagster.lineage.auditing.contents import check_contents
from rlaif_dagster.lineage.auditing.events import EventLog, check_events
from rlaif_dagster.lineage.auditing.findings import AuditReport, ReportedPruning
from rlaif_dagster.lineage.auditing.inputs import check_recorded_files
from rlaif_dagster.lineage.auditing.objects import StoreReading, StoreView, find_unknown_objects, read_store
from rlaif_dagster.lineage.auditing.overrides import list_overrides, read_standing
from rlaif_dagster.lineage.auditing.pins import (
    check_copies,
    check_pin,
    find_pinned_tree,
    read_pin,
    report_unpinned,
)
from rlaif_dagster.lineage.auditing.records import LedgerReading, name_version, read_ledger
from rlaif_dagster.lineage.auditing.signatures import check_signatures
from rlaif_dagster.lineage.collecting.notes import PruneNote, find_pruned
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, Records
from rlaif_dagster.progress import Progress
from rlaif_dagster.versioning.pin import DATA_FOLDER
from rlaif_dagster.versioning.scratch import raising_storage_errors

_DAMAGED: Final = "a lineage record is damaged or missing; restore it, then audit again"


def audit_project(
    project: Project,
    *,
    target: str | None,
    events: EventLog | None,
    keys: Sequence[Path] = (),
    progress: Progress,
) -> AuditReport:
    """Audits a project, or one version with everything that it was made from.

    Args:
        project: The project.
        target: `ASSET`, `ASSET@DIGEST` or `DIGEST` (a digest in full or its first hex digits); None for everything.
        events: Dagster's event log, if there is one.
        keys: Public keys (PEM) of signers whom the auditor trusts.
        progress: Called with the progress.

    Raises:
        InputError: If the target names no version, or several, or a key cannot be used.
        MissingExtraError: If a key is named, and the extra `standards` is not installed.
        StorageError: If the project cannot be read.
    """
    with raising_storage_errors(project.root):
        store = StoreView.open(project.root, uses_remote=project.uses_remote)
        ledger = read_ledger(project.ledger.folder, project.root)
        records = ledger.records if target is None else find_target_closure(ledger, target, project.root)
        pinned, pin_findings = read_pin(project.root)
        collected = find_pruned(ledger.notes, ledger.records.values())
        reading = read_store(
            store,
            records.values(),
            pinned=pinned,
            heads=ledger.heads.values(),
            collected=collected,
            is_complete=target is None and store.is_own,
            progress=progress,
        )
        findings = [*ledger.findings, *reading.findings]
        skipped = [] if ledger.is_whole else [f"every check that needs all records: {_DAMAGED}"]
        if target is None and not store.is_own:
            skipped.append(
                f"objects that no record names: {store.cache.folder} may be shared with other projects"
            )
        elif target is None and ledger.is_whole:
            findings += find_unknown_objects(store, reading, ledger.records.values())
        find_file = partial(_find_file, store, reading)
        contents = check_contents(list(records.values()), find_file)
        signatures = check_signatures(project, ledger, records, keys, find_file)
        findings += [*contents.findings, *signatures.findings]
        skipped += [*contents.skipped, *signatures.skipped]
        findings += check_recorded_files(project.root, skipped.append)
        findings += pin_findings
        assets = {
            ledger.records[record_id].asset: ledger.records[record_id]
            for record_id in ledger.head_ids.values()
            if record_id in records
        }
        num_bytes = reading.num_bytes
        whole = find_pinned_tree(pinned, ledger, reading)
        if pinned is None and not pin_findings and ledger.is_whole:
            findings += report_unpinned(assets)
        elif pinned is not None and whole is None:
            skipped.append(f"what data.dvc pins, and {DATA_FOLDER}/: the tree object {pinned} is missing")
        elif whole is not None:
            is_complete = target is None and ledger.is_whole
            findings += check_pin(
                project.root,
                whole,
                ledger,
                assets=assets if ledger.is_whole else {},
                is_complete=is_complete,
            )
            if (project.root / DATA_FOLDER).is_dir():
                copies = check_copies(project.root, whole, ledger, assets=assets, is_complete=target is None)
                findings += copies.findings
                num_bytes += copies.num_bytes
            else:
                skipped.append(
                    f"{DATA_FOLDER}/: the folder is missing; `rlaif run` or `dvc checkout` fills it"
                )
        if events is None:
            skipped.append("Dagster's event log: this project has none")
        elif events.unread is not None:
            skipped.append(f"Dagster's event log: {events.unread}")
        else:
            findings += check_events(events, ledger, records, is_complete=target is None)
        standing = read_standing(project.root)
        if standing is None:
            skipped.append(
                f"which overrides are still in force: {OVERRIDES_FILE} or {RELEASE_FILE} cannot be read"
            )
    return AuditReport(
        findings=tuple(findings),
        skipped=tuple(skipped),
        overrides=tuple(list_overrides(records.values(), standing)),
        pruned=tuple(_list_pruned(records.values(), collected)),
        signatures=signatures.signatures,
        num_records=len(records),
        num_objects=reading.num_hashed,
        num_bytes=num_bytes,
        num_events=None if events is None or events.unread else len(events.events),
    )


def _list_pruned(
    records: Iterable[MaterialisationRecord], collected: Mapping[str, PruneNote]
) -> Iterator[ReportedPruning]:
    for record in {record.output.md5: record for record in records}.values():
        note = collected.get(record.output.md5)
        if note is not None:
            yield ReportedPruning(version=name_version(record), when=note.when.isoformat(), keep=note.keep)


def find_target_closure(ledger: LedgerReading, target: str, root: Path) -> Records:
    """Finds the record of a version, and the records of everything that it was made from.

    Args:
        ledger: The ledger.
        target: `ASSET`, `ASSET@DIGEST` or `DIGEST`.
        root: The project's folder.

    Raises:
        InputError: If the target names no version, or several.
    """
    record = versions.find_target(ledger.records.values(), target, root=root)
    if record is None:
        findings = "".join(f"\n  {finding.place}: {finding.found}" for finding in ledger.findings)
        raise InputError(
            f"the ledger has no valid record of {target!r}"
            + (f"; it is damaged:{findings}" if findings else ""),
            file=root,
            remedy=f"name one of {', '.join(ledger.heads)}, or ASSET@DIGEST with at least 4 hex digits; or audit "
            "everything with `rlaif audit`",
        )
    start = [record_id for record_id, other in ledger.records.items() if other is record]
    found = versions.find_closure_ids(ledger.records, start)
    return {record_id: record for record_id, record in ledger.records.items() if record_id in found}


def _find_file(
    store: StoreView, reading: StoreReading, record: MaterialisationRecord, name: str
) -> Path | None:
    tree = reading.trees.get(record.output.md5)
    md5 = None if tree is None else dict(tree.files).get(name)
    return store.cache.path_of(md5) if md5 is not None and md5 in reading.sound else None
