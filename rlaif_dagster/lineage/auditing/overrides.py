"""Failed checks that a person let pass, as an auditor wants to see them: who rests on which, and why."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.overrides import read_overrides
from rlaif_dagster.inputs.release import Hold
from rlaif_dagster.lineage.auditing.findings import OverrideUse
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.record import MaterialisationRecord


def read_standing(root: Path) -> frozenset[object] | None:
    """What still stands: the keys of the overrides, and the reason of the hold; None where a file is wrong."""
    try:
        hold = Hold.read(root).settings
        overrides = read_overrides(root)
    except InputError:
        return None
    return frozenset({*(override.key for override in overrides), *({hold.reason} if hold else ())})


def list_overrides(
    records: Iterable[MaterialisationRecord], standing: frozenset[object] | None
) -> Iterator[OverrideUse]:
    """Yields every use of an override; one that was withdrawn since is history, and no fault."""
    for record in records:
        for override in record.overrides:
            # A rollback lets pass whatever the newest evaluation failed, by the reason of its own.
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
