"""Finds the two sides of a comparison by name. Each side is a version of every asset."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import CorruptVersionError, InputError, StorageError
from rlaif_dagster.graph.rounds import name_in_round
from rlaif_dagster.lineage.ledger import RECORD_SUFFIX
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.releases import ReleaseHistory
from rlaif_dagster.lineage.reuse import work_folder
from rlaif_dagster.lineage.services import view_version
from rlaif_dagster.lineage.versions import find_ancestors, find_version
from rlaif_dagster.names import ALIGNED_POLICY, EVALUATION, RELEASED_POLICY
from rlaif_dagster.versioning.git import list_files_at, read_file_at

_ROUND: Final = re.compile(r"round_(\d+)/")
_NUMBER: Final = re.compile(r"\d{1,3}")

Versions = Mapping[str, MaterialisationRecord]
"""One record of each asset, by asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One side of a comparison.

    Attributes:
        name: The name that the user gave.
        what: What the name stands for, in words.
        versions: The version of each asset.
        round: The round that is compared: the round of the named version or of the released policy.
    """

    name: str
    what: str
    versions: Versions
    round: int = 1

    @property
    def by_role(self) -> Versions:
        """The versions by asset name within the round; a round that stopped lacks some."""
        roles = {name.rpartition("/")[2] for name in self.versions}
        names = {role: name_in_round(role, self.round) for role in roles}
        return {
            role: self.versions[asset]
            for role, asset in names.items()
            if asset in self.versions and not self.versions[asset].is_stopped
        }


def find_state(project: Project, name: str) -> State:
    """Finds the state that the user names.

    Args:
        project: The project.
        name: `ASSET`, `ASSET@DIGEST` or `DIGEST`; `release:2`, `release:-1` or `2`; a git revision. A name that starts
            with `git:` is always a git revision.

    Raises:
        InputError: If the name stands for nothing, or for several things.
        LedgerError: If the ledger is damaged.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "git":
        return _find_revision(project, name, rest)
    if colon and kind == "release":
        return _find_release(project, name, rest)
    if _NUMBER.fullmatch(name):
        return _find_release(project, name, name)
    try:
        record = find_version(project, name)
    except InputError as unknown:
        try:
            return _find_revision(project, name, name)
        except InputError as error:
            raise InputError(
                f"{name!r} is neither a version, nor a release, nor a git revision ({unknown.problem}; "
                f"{error.problem})",
                file=project.root,
                remedy="name ASSET@DIGEST (`rlaif status`), release:NUMBER (`rlaif releases`) or a revision "
                "(`git log`) at which lineage/ was committed",
            ) from error
    return _gather_around(project, name, record)


@contextmanager
def opening(
    project: Project, lost: Callable[[MaterialisationRecord, str], object]
) -> Iterator["OpenVersion"]:
    """Opens verified versions as folders while the context lasts, each when it is first needed.

    Args:
        project: The project.
        lost: Called with a version that is not available, and why.
    """
    with work_folder(project) as work:
        folders: dict[str, Path | None] = {}

        def open_version(record: MaterialisationRecord) -> Path | None:
            folder = work / record.output.md5
            if record.output.md5 not in folders:
                try:
                    view_version(project, record, folder)
                    folders[record.output.md5] = folder
                except (CorruptVersionError, StorageError) as error:
                    lost(record, "; ".join(line.strip() for line in str(error).splitlines()))
                    folders[record.output.md5] = None
            return folders[record.output.md5]

        yield open_version


OpenVersion = Callable[[MaterialisationRecord], Path | None]
"""Returns a folder with a version's files; None if its bytes are not available."""


def _gather_around(project: Project, name: str, record: MaterialisationRecord) -> State:
    """Gathers a version, what it was made from and, for a policy, the newest evaluation of it."""
    records = project.ledger.records()
    versions: dict[str, MaterialisationRecord] = {}
    number = int(match[1]) if (match := _ROUND.match(record.asset)) else 1
    if record.asset == name_in_round(ALIGNED_POLICY, number):
        measured = next(
            (
                one
                for one in reversed(records)
                if one.asset == name_in_round(EVALUATION, number)
                and record.asset in one.inputs
                and one.inputs[record.asset].digest == record.output.digest
            ),
            None,
        )
        if measured is not None:
            versions = _by_asset(find_ancestors(records, measured))
    versions |= _by_asset(find_ancestors(records, record))
    return State(name=name, what=f"{record.asset} and what it was made from", versions=versions, round=number)


def _find_release(project: Project, name: str, target: str) -> State:
    records = project.ledger.records()
    release = ReleaseHistory.from_records(records).find(target, root=project.root)
    return State(
        name=name,
        what=f"release {release.number}",
        versions=_by_asset(find_ancestors(records, release.record)),
        round=release.facts.get("round", 1),
    )


def _find_revision(project: Project, name: str, revision: str) -> State:
    """Finds the newest version of each asset in the ledger committed at a revision."""
    known = {record.record_id: record for record in project.ledger.records()}
    records = []
    for path in list_files_at(project.root, revision, project.ledger.folder.name):
        record_id = Path(path).name.removesuffix(RECORD_SUFFIX)
        if record_id in known:  # named by its own bytes, so it is the committed one
            records.append(known[record_id])
        elif path.endswith(RECORD_SUFFIX):
            data = read_file_at(project.root, revision, path)
            records.append(MaterialisationRecord.from_bytes(data, name=f"{path} at {revision}"))
    if not records:
        raise InputError(
            f"at {revision!r} no lineage record was committed, so the versions in data/ are not known",
            file=project.root,
            remedy="commit lineage/ and data.dvc after each run; or name versions by digest",
        )
    records.sort(key=lambda record: (record.sequence, record.ended_at, record.record_id))
    versions = _by_asset(records)
    released = versions.get(RELEASED_POLICY)
    return State(
        name=name,
        what=f"git revision {revision}",
        versions=versions,
        round=released.metrics.get("round", 1) if released else 1,
    )


def _by_asset(records: Sequence[MaterialisationRecord]) -> dict[str, MaterialisationRecord]:
    return {record.asset: record for record in records}
