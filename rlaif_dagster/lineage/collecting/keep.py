"""Decides which versions are kept, and why: some always, others by the user's rules."""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import InputError
from rlaif_dagster.lineage.auditing.objects import split_tree
from rlaif_dagster.lineage.comparing.states import find_state
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import Records
from rlaif_dagster.lineage.releases import ReleaseHistory
from rlaif_dagster.lineage.versions import find_closure_ids, find_version
from rlaif_dagster.versioning.git import list_refs, read_file_at
from rlaif_dagster.versioning.pin import DATA_FOLDER, parse_pin

RELEASES: Final = "releases"
_NUMBERED: Final = re.compile(r"(last|days):(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept, and why.

    Attributes:
        reasons: The ids of the records whose versions are kept, each with the first reason found.
        pins: Addresses of pinned states of `data/`, each with what pins it.
    """

    reasons: Mapping[str, str]
    pins: Mapping[str, str]


def find_kept(project: Project, keep: Sequence[str], *, now: datetime.datetime) -> Kept:
    """Finds everything that is kept: what is always kept, what the rules name, and everything these were made from.

    Always kept are the newest version of each asset, every release, and what the working tree, HEAD, every branch and
    every tag pin in `data.dvc` or have as the newest version in their ledger.

    Args:
        project: The project.
        keep: Rules: `releases` (no more than always), `last:N`, `days:N`, `ASSET@DIGEST` or `DIGEST`.
        now: The time, in UTC.

    Raises:
        InputError: If a rule is not valid, or names no version.
        LedgerError: If the ledger is damaged.
    """
    records = {record.record_id: record for record in project.ledger.records()}
    pins = dict(_list_pins(project))
    reasons: dict[str, str] = {}
    for record_id, reason in (
        *_name_always(project, records),
        *_name_pinned(project, records, pins),
        *(pair for rule in keep for pair in _follow_rule(project, records, rule, now=now)),
    ):
        if record_id not in reasons:
            for needed in find_closure_ids(records, [record_id]):
                reasons.setdefault(needed, reason)
    return Kept(reasons=reasons, pins=pins)


def _name_always(project: Project, records: Records) -> Iterator[tuple[str, str]]:
    for record in project.ledger.find_heads().values():
        yield record.record_id, "newest"
    for release in ReleaseHistory.from_records(list(records.values())).releases:
        yield release.record.record_id, f"release {release.number}"
    for commit, name in list_refs(project.root).items():
        try:
            state = find_state(project, f"git:{commit}")
        except InputError:
            continue  # a revision without a ledger
        for record in state.versions.values():
            if record.record_id in records:
                yield record.record_id, f"newest at {name}"


def _list_pins(project: Project) -> Iterator[tuple[str, str]]:
    pinned = project.store.read_pinned()
    if pinned is not None:
        yield pinned, "the working tree"
    path = f"{DATA_FOLDER}.dvc"
    for commit, name in list_refs(project.root).items():
        try:
            text = read_file_at(project.root, commit, path).decode("utf-8", errors="replace")
        except InputError:
            continue  # a revision without a pin
        pinned = parse_pin(text, Path(f"{path} at {name}"))
        if pinned is not None:
            yield pinned, name


def _name_pinned(project: Project, records: Records, pins: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields a record of each version in a pinned state of `data/`, as far as the state is here."""
    makers = {(record.asset, record.output.md5): record_id for record_id, record in records.items()}
    assets = {asset for asset, _ in makers}
    for pinned, name in pins.items():
        whole = project.store.cache.read_tree(pinned)
        for asset, tree in split_tree(whole, assets).items() if whole is not None else ():
            if (asset, tree.md5) in makers:
                yield makers[asset, tree.md5], f"pinned by {name}"


def _follow_rule(
    project: Project, records: Records, rule: str, *, now: datetime.datetime
) -> Iterator[tuple[str, str]]:
    """Yields the records that a rule names."""
    if rule == RELEASES:
        return
    match = _NUMBERED.fullmatch(rule)
    if match is None:
        if "@" not in rule and not re.fullmatch(r"(sha256:)?[0-9a-f]{4,64}", rule):
            raise InputError(
                f"{rule!r} is not a rule",
                file=project.root,
                remedy="write releases, last:N, days:N or ASSET@DIGEST; repeat --keep for several",
            )
        yield find_version(project, rule).record_id, rule
    elif match[1] == "days":
        oldest = now - datetime.timedelta(days=int(match[2]))
        for record_id, record in records.items():
            if record.ended_at >= oldest:
                yield record_id, rule
    else:
        seen: dict[str, set[str]] = {}
        for record_id, record in reversed(list(records.items())):
            digests = seen.setdefault(record.asset, set())
            if record.output.digest not in digests and len(digests) < int(match[2]):
                digests.add(record.output.digest)
                yield record_id, rule
