"""Shares ledger, versions and signatures over the project's DVC remote.

Versions are sent before the records that name them, so whoever pulls a record can get its bytes. Records never change
and are named by their bytes, so two people's ledgers merge by union.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.lineage.collecting.notes import find_pruned, read_notes
from rlaif_dagster.lineage.ledger import RECORD_SUFFIX
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import show_newest
from rlaif_dagster.lineage.running import hold_run
from rlaif_dagster.lineage.signing import SIGNATURE_SUFFIX, SIGNATURES, list_whole_signatures
from rlaif_dagster.progress import Progress
from rlaif_dagster.versioning.scratch import raising_storage_errors, scratch_folder, write_whole

if TYPE_CHECKING:
    from rlaif_dagster.versioning.remote import Remote

LINEAGE: Final = "lineage"
"""The ledger's folder in a remote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareResult:
    """What a push or a pull moved.

    Attributes:
        remote: The remote's name.
        num_records: Number of moved records.
        num_versions: Number of versions that are now complete on the other side.
        lost: What neither side has complete: versions as `asset@digest`, and signatures by file.
    """

    remote: str
    num_records: int
    num_versions: int
    lost: tuple[str, ...]


def push_project(project: Project, *, progress: Progress) -> ShareResult:
    """Sends every version that the ledger names, then the ledger, to the DVC remote.

    Raises:
        CorruptVersionError: If a version is damaged here; nothing that names it is sent.
        LedgerError: If the ledger is damaged.
        StorageError: If there is no remote, or it cannot be written.
    """
    project = replace(project, uses_remote=True)
    with hold_run(project, "push"):
        return _push(project, progress)


def _push(project: Project, progress: Progress) -> ShareResult:
    records = project.ledger.records()
    versions = _list_versions(project, records)
    pinned = project.store.read_pinned()
    sent = project.store.push([*versions, *([pinned] if pinned else [])], progress=progress)
    lost = set(sent.lost) - {pinned}
    remote = project.store.require_remote()
    files = [project.ledger.folder / f"{record.record_id}{RECORD_SUFFIX}" for record in records]
    num_records = remote.send_files(LINEAGE, files)
    if signatures := list_whole_signatures(project.root / SIGNATURES):
        remote.send_files(SIGNATURES, signatures)
    return ShareResult(
        remote=sent.remote,
        num_records=num_records,
        num_versions=len(versions) - len(lost),
        lost=_name(versions, lost),
    )


def pull_project(project: Project, *, heads_only: bool, progress: Progress) -> ShareResult:
    """Fetches the remote's ledger and the versions that it names, verifies them, and shows the newest in `data/`.

    Args:
        project: The project.
        heads_only: Fetch only the newest version of each asset; others are fetched when they are needed.
        progress: Called with the progress.

    Raises:
        CorruptVersionError: If fetched bytes are not those recorded; they are not kept.
        LedgerError: If the remote's ledger is damaged; no record is taken.
        StorageError: If there is no remote, or it cannot be read.
    """
    project = replace(project, uses_remote=True)
    with hold_run(project, "pull"):
        return _pull(project, progress, heads_only=heads_only)


def _pull(project: Project, progress: Progress, *, heads_only: bool) -> ShareResult:
    remote = project.store.require_remote()
    with (
        raising_storage_errors(project.scratch),
        scratch_folder(project.scratch / "scratch") as scratch,
    ):
        here = {path.name for path in project.ledger.folder.glob(f"*{RECORD_SUFFIX}")}
        names = sorted(
            name for name in remote.list_files(LINEAGE) if name.endswith(RECORD_SUFFIX) and name not in here
        )
        remote.fetch_files(LINEAGE, names, scratch)
        num_records = project.ledger.adopt(scratch / name for name in names)
    lost_signatures = _pull_signatures(project, remote)
    records = project.ledger.records()
    heads = list(project.ledger.find_heads().values())
    versions = _list_versions(project, heads if heads_only else records)
    lost = set()
    for done, (md5, record) in enumerate(versions.items(), start=1):
        if project.store.verify(md5, Digest.parse(record.output.digest)) is None:
            lost.add(md5)
        progress("versions fetched", done, len(versions))
    for head in heads:
        if head.output.md5 not in lost:
            show_newest(project, head.asset)
    return ShareResult(
        remote=remote.name,
        num_records=num_records,
        num_versions=len(versions) - len(lost),
        lost=_name(versions, lost) + lost_signatures,
    )


def _list_versions(
    project: Project, records: "list[MaterialisationRecord]"
) -> dict[str, MaterialisationRecord]:
    """Lists the versions of records by address, without those that were pruned here on purpose."""
    collected = find_pruned(read_notes(project.ledger.folder), project.ledger.records())
    return {record.output.md5: record for record in records if record.output.md5 not in collected}


def _pull_signatures(project: Project, remote: "Remote") -> tuple[str, ...]:
    """Fetches signatures that are not here or incomplete; they are not verified here.

    Returns:
        Those that are incomplete in the remote too, because a push was interrupted.
    """
    folder = project.root / SIGNATURES
    here = {path.name for path in list_whole_signatures(folder)}
    names = sorted(
        name for name in remote.list_files(SIGNATURES) if name.endswith(SIGNATURE_SUFFIX) and name not in here
    )
    with raising_storage_errors(folder), scratch_folder(project.scratch / "scratch") as scratch:
        remote.fetch_files(SIGNATURES, names, scratch)
        arrived = list_whole_signatures(scratch)
        for path in arrived:
            write_whole(folder / path.name, path.read_bytes(), scratch=project.scratch / "scratch")
    return tuple(f"{SIGNATURES}/{name}" for name in sorted({*names} - {path.name for path in arrived}))


def _name(versions: Mapping[str, MaterialisationRecord], md5s: "set[str]") -> tuple[str, ...]:
    return tuple(
        f"{record.asset}@{Digest.parse(record.output.digest).short}"
        for md5, record in versions.items()
        if md5 in md5s
    )
