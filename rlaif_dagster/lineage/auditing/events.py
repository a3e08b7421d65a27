"""Compares Dagster's event log with the ledger. The log comes as plain values; `defs/events.py` reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rlaif_dagster.lineage.auditing.findings import Finding
from rlaif_dagster.lineage.auditing.records import LedgerReading, name_version
from rlaif_dagster.lineage.record import MaterialisationRecord

_LOOK: Final = (
    "results depend on the ledger, not on Dagster's log: find out who changed the log; you can move it away, and "
    "`rlaif run` then tells Dagster the newest versions again"
)

SUCCESS = "SUCCESS"
"""Dagster's name for the state of a run that succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialisationEvent:
    """What Dagster was told about one materialisation.

    Attributes:
        asset: The asset.
        run_id: Dagster's run.
        digest: The data version: our content digest.
        record: The record's id, from the metadata.
        inputs: The data version of each input that Dagster noted.
        recipe: The recipe that Dagster noted, or None if it noted none.
    """

    asset: str
    run_id: str
    digest: str | None
    record: str | None
    inputs: Mapping[str, str]
    recipe: str | None = None

    @property
    def place(self) -> str:
        """Where the event is, for people."""
        return f"Dagster run {self.run_id}, {self.asset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """Dagster's event log.

    Attributes:
        events: The materialisations, in order of time.
        runs: The state of every run that Dagster knows, by id.
        damage: What cannot be read or contradicts itself: (place, description).
        unread: Why nothing could be read, with the remedy, if no file of the project is at fault: a driver is missing,
            a server does not answer, or the settings came with a clone. Then nothing else is known.
    """

    events: tuple[MaterialisationEvent, ...]
    runs: Mapping[str, str]
    damage: tuple[tuple[str, str], ...] = ()
    unread: str | None = None


def check_events(
    log: EventLog, ledger: LedgerReading, records: Mapping[str, MaterialisationRecord], *, is_complete: bool
) -> Iterator[Finding]:
    """Compares the event log with the ledger.

    Args:
        log: The event log.
        ledger: The whole ledger.
        records: The records to look at, by id.
        is_complete: Whether these are all records, so that every event must have its record. If not, events of other
            assets are ignored.
    """
    for place, words in log.damage:
        yield Finding(
            kind="event-log-damaged",
            place=place,
            found=words,
            expected="an event log as Dagster writes it",
            remedy=_LOOK,
        )
    assets = {record.asset for record in records.values()}
    versions = {(record.asset, record.output.digest) for record in ledger.records.values()}
    latest: dict[str, MaterialisationEvent] = {}
    for event in log.events:
        if event.asset not in assets and not is_complete:
            continue
        latest[event.asset] = event
        record = ledger.records.get(event.record or "")
        if record is not None:
            yield from _compare(event, record)
        elif ledger.is_whole:
            known = (
                "which the ledger has" if (event.asset, event.digest) in versions else "unknown to the ledger"
            )
            yield Finding(
                kind="event-unknown",
                place=event.place,
                found=f"record {event.record}, version {event.digest} ({known})",
                expected="a record in the ledger",
                remedy="a record was removed (compare lineage/ with git) or the event is forged. " + _LOOK,
            )
    yield from _find_untold(log, records)
    for asset, event in latest.items():
        head = ledger.heads.get(asset)
        if head is None or not ledger.is_whole:
            continue
        if event.digest != head.output.digest and head.run_id in log.runs:
            yield Finding(
                kind="event-differs",
                place=event.place,
                found=f"the latest version is {event.digest}",
                expected=f"{head.output.digest}, the newest in the ledger",
                remedy="two runs that overlapped can cause this: `rlaif run` tells Dagster again. " + _LOOK,
            )


def _compare(event: MaterialisationEvent, record: MaterialisationRecord) -> Iterator[Finding]:
    told = {"asset": event.asset, "version": event.digest, **event.inputs}
    made = {"asset": record.asset, "version": record.output.digest}
    made |= {name: version.digest for name, version in record.inputs.items() if name in event.inputs}
    if event.recipe is not None:
        told["recipe"], made["recipe"] = event.recipe, record.recipe
    if told != made:
        yield Finding(
            kind="event-differs",
            place=event.place,
            found=", ".join(f"{key} {told[key]}" for key in told if told[key] != made.get(key)),
            expected=", ".join(f"{key} {made.get(key)}" for key in told if told[key] != made.get(key))
            + f", by the record {event.record}",
            remedy=_LOOK,
        )


def _find_untold(log: EventLog, records: Mapping[str, MaterialisationRecord]) -> Iterator[Finding]:
    """Yields records of runs that Dagster knows, if that run has no event of them.

    A run that did not succeed may have been killed before it told Dagster. Then an event of a later run is enough.
    """
    told = {(event.run_id, event.record) for event in log.events}
    told_at_all = {event.record for event in log.events}
    for record_id, record in records.items():
        state = log.runs.get(record.run_id or "")
        if state is None or (record.run_id, record_id) in told:
            continue
        if state == SUCCESS or record_id not in told_at_all:
            yield Finding(
                kind="event-missing",
                place=f"Dagster run {record.run_id}, {record.asset}",
                found=f"no materialisation of the record {record_id}; the run's state is {state}",
                expected=name_version(record),
                remedy="a killed run, or a person who wiped materialisations in the UI, can cause this: `rlaif run` "
                "tells Dagster the newest version again. " + _LOOK,
            )
