"""Finds versions by name, and what was made from what."""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from rlaif_dagster.errors import InputError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, VersionRef

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")

AssetVersion = tuple[str, str]
"""An asset and a content digest."""


def version_of(record: MaterialisationRecord) -> AssetVersion:
    """The version that a record made or reused."""
    return record.asset, record.output.digest


def find_version(project: Project, target: str) -> MaterialisationRecord:
    """Finds the newest record of the version that the user names.

    Args:
        project: The project.
        target: `ASSET` for its newest version, `ASSET@DIGEST` or `DIGEST`, in full or its first hex digits.

    Raises:
        InputError: If the target names no version, or several.
        LedgerError: If the ledger is damaged.
    """
    records = project.ledger.records()
    found = find_target(records, target, root=project.root)
    if found is not None:
        return found
    assets = ", ".join({record.asset: None for record in records})
    raise InputError(
        f"the ledger has no record of {target!r}",
        file=project.root,
        remedy=f"name one of {assets or 'the assets that `rlaif run` makes'}, or ASSET@DIGEST with at least "
        "4 hex digits",
    )


def find_target(
    records: Collection[MaterialisationRecord], target: str, *, root: Path
) -> MaterialisationRecord | None:
    """Finds the newest record of the version that the user names; None if there is none.

    Args:
        records: All records, oldest first.
        target: `ASSET`, `ASSET@DIGEST` or `DIGEST`.
        root: The project's folder.

    Raises:
        InputError: If the target names several versions.
    """
    heads = {record.asset: record for record in records}
    if target in heads:
        return heads[target]
    asset, at, text = target.rpartition("@")
    match = _DIGEST.fullmatch(text)
    if match is None:
        return None
    found = {
        version_of(record): record
        for record in records
        if record.output.digest.startswith(f"sha256:{match[1]}") and (not at or record.asset == asset)
    }
    if len(found) > 1:
        names = ", ".join(f"{name}@{digest.removeprefix('sha256:')[:12]}" for name, digest in found)
        raise InputError(
            f"{target!r} names several versions: {names}", file=root, remedy="write more of the digest"
        )
    return next(iter(found.values()), None)


def find_ancestors(
    records: Sequence[MaterialisationRecord], record: MaterialisationRecord
) -> list[MaterialisationRecord]:
    """Lists the records of everything that a version was made from, itself last.

    A version that a person returned to counts as made when it was first recorded, whatever its newest record read.

    Args:
        records: All records, oldest first.
        record: The version.
    """
    makers: dict[AssetVersion, list[MaterialisationRecord]] = {}
    for maker in records:
        makers.setdefault(version_of(maker), []).append(maker)
    found: dict[AssetVersion, MaterialisationRecord] = {}

    def visit(child: MaterialisationRecord) -> None:
        if version_of(child) in found:
            return
        for name, version in child.inputs.items():
            for maker in reversed(makers.get((name, version.digest), ())):
                if maker.sequence < child.sequence:
                    visit(maker)
                    break
        found[version_of(child)] = child

    making = (
        maker
        for maker in reversed(makers.get(version_of(record), ()))
        if maker.reason is None and maker.sequence <= record.sequence
    )
    visit(next(making, record))
    return list(found.values())


def find_closure_ids(records: Mapping[str, MaterialisationRecord], start: Iterable[str]) -> set[str]:
    """Finds the ids of some records, and of the records of everything that their versions were made from.

    It follows the inputs that a record names, each to the newest earlier record that made that version; the record
    whose version was reused; and, if a person asked for an earlier version, the record that made it.

    Args:
        records: All records by id, oldest first.
        start: Ids among them.
    """
    makers: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for record_id, record in records.items():
        version = (record.asset, record.output.digest, record.output.md5)
        makers.setdefault(version, []).append((record.sequence, record_id))
    found: set[str] = set()
    todo = list(start)
    while todo:
        record_id = todo.pop()
        if record_id in found:
            continue
        found.add(record_id)
        record = records[record_id]
        versions: dict[str, VersionRef] = dict(record.inputs)
        if record.reason is not None:  # a person asked for an earlier version of the asset
            versions[record.asset] = record.output
        for name, ref in versions.items():
            made = makers.get((name, ref.digest, ref.md5), [])
            before = bisect_left(made, (record.sequence, ""))
            todo += [made[before - 1][1]] if before else []
        if record.reused_from is not None and record.reused_from in records:
            todo.append(record.reused_from)
    return found


def find_descendants(
    records: Sequence[MaterialisationRecord], versions: Iterable[AssetVersion]
) -> list[MaterialisationRecord]:
    """Finds one record of each version that was made from any of the given ones, directly or not, oldest first.

    Args:
        records: All records, oldest first.
        versions: Where to start; these are not in the result.
    """
    reached = set(versions)
    start = set(reached)
    found: dict[AssetVersion, MaterialisationRecord] = {}
    for record in records:
        if record.reason is not None:
            continue  # a person returned to it; it was not made from what was read
        from_reached = any((name, ref.digest) in reached for name, ref in record.inputs.items())
        if from_reached and version_of(record) not in start:
            reached.add(version_of(record))
            found.setdefault(version_of(record), record)
    return list(found.values())
