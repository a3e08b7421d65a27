"""Lists failed checks that a person let pass: which versions depend on which override, and why."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.overrides import read_overrides
from rlaif_dagster.inputs.release import Hold
from rlaif_dagster.lineage.auditing.findings import OverrideUse
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.record import MaterialisationRecord


def read_standing(root: Path) -> frozenset[object] | None:
    """Reads what is still in force: the keys of the overrides and the reason of the hold; None if a file is wrong."""
    try:
        hold = Hold.read(root).settings
        overrides = read_overrides(root)
    except InputError:
        return None
    return frozenset({*(override.key for override in overrides), *({hold.reason} if hold else ())})


def list_overrides(
    records: Iterable[MaterialisationRecord], standing: frozenset[object] | None
) -> Iterator[OverrideUse]:
    """Yields every use of an override; one that was withdrawn later is history, not a fault."""
    for record in records:
        for override in record.overrides:
            # A rollback overrides whatever the newest evaluation failed, with the rollback's own reason.
            key = record.reason if override.reason == record.reason else override.key
            yield OverrideUse(
                built=name_version(record),
                when=record.ended_at.isoformat(),
                asset=override.asset,
                digest=override.digest,
                check=override.check,
                reason=override.reason,
                stands=None if standing is None else key in standing,
            )
