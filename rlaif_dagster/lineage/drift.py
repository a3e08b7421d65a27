"""Finds judges that changed behind the same name, and marks what they judged and what was made from it.

A failed canary means that a version of `judge` no longer answers as before. It changed at some time between its last
passed canary and the failed one. So everything that it judged in between is in doubt, and the verdicts that the canary
repeated came from another judge than today's. These versions, and everything made from them, are marked until a canary
of the same judge passes again.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlaif_dagster.graph.judge_canary import SAME_JUDGE
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.lineage.record import MaterialisationRecord, RecordedCheck
from rlaif_dagster.lineage.versions import AssetVersion, find_descendants, version_of
from rlaif_dagster.names import JUDGE, JUDGE_CANARY, JUDGEMENTS

_Canary = tuple[MaterialisationRecord, RecordedCheck]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A version of `judge` that no longer answers as before.

    Attributes:
        judge: Its digest.
        names: The judges in it that changed.
        found_at: When the change was found, in UTC.
        last_good_at: When a canary last passed, in UTC; None if none did.
        marked: The versions that it judged after that, and those made from them, oldest first.
    """

    judge: str
    names: tuple[str, ...]
    found_at: datetime.datetime
    last_good_at: datetime.datetime | None
    marked: tuple[AssetVersion, ...]

    def list_heads(self, heads: Mapping[str, MaterialisationRecord]) -> dict[str, str]:
        """Lists the marked versions that are an asset's newest: digests by asset."""
        return {
            asset: digest
            for asset, digest in self.marked
            if asset in heads and heads[asset].output.digest == digest
        }


def find_drifts(ledger: Ledger) -> tuple[Drift, ...]:
    """Finds the judges whose newest canary failed; oldest canary first.

    Raises:
        LedgerError: If the ledger is damaged.
    """
    by_judge: dict[str, list[_Canary]] = {}
    for record in sorted(ledger.find_asset(JUDGE_CANARY), key=lambda record: record.sequence):
        for check in record.checks:
            if check.name == SAME_JUDGE and _tells(check) and record.reused_from is None:
                by_judge.setdefault(record.inputs[JUDGE].digest, []).append((record, check))
    drifted = [canaries for canaries in by_judge.values() if not canaries[-1][1].passed]
    if not drifted:
        return ()
    records = ledger.records()
    return tuple(_describe(canaries, records) for canaries in drifted)


def describe_drifts(
    drifts: Sequence[Drift], heads: Mapping[str, MaterialisationRecord]
) -> list[dict[str, object]]:
    """Describes as JSON the drifts that affect an asset's newest version, with these versions."""
    return [
        {
            "judges": list(drift.names),
            "found_at": drift.found_at.isoformat(),
            "last_good_at": drift.last_good_at.isoformat() if drift.last_good_at else None,
            "marked": marked,
        }
        for drift in drifts
        if (marked := drift.list_heads(heads))
    ]


def _describe(canaries: Sequence[_Canary], records: Sequence[MaterialisationRecord]) -> Drift:
    newest, failed = canaries[-1]
    judge = newest.inputs[JUDGE].digest
    good = next((record for record, check in reversed(canaries) if check.passed), None)
    judged = {(JUDGEMENTS, newest.inputs[JUDGEMENTS].digest)}
    judged |= {
        version_of(record)
        for record in records
        if record.asset != JUDGE_CANARY
        and record.reused_from is None
        and (good is None or record.sequence > good.sequence)
        and JUDGE in record.inputs
        and record.inputs[JUDGE].digest == judge
    }
    made = {version_of(record) for record in find_descendants(records, judged)}
    marked = dict.fromkeys(version_of(record) for record in records if version_of(record) in judged | made)
    return Drift(
        judge=judge,
        names=tuple(
            name
            for name, changed in newest.metrics["changed"].items()
            if changed["value"] > failed.facts["required"]
        ),
        found_at=newest.ended_at,
        last_good_at=None if good is None else good.ended_at,
        marked=tuple(version for version in marked if version[0] != JUDGE_CANARY),
    )


def _tells(check: RecordedCheck) -> bool:
    """Whether a canary counts: one without a threshold or without an answer does not."""
    return check.facts["required"] != "nothing" and "not_measured" not in check.facts
