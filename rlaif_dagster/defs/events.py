"""Reads Dagster's event log as plain values, for the audit.

The databases are copied and the copies are opened, because opening a database may write beside it, and an audit writes
nothing in a project. A storage that `dagster.yaml` places elsewhere (Postgres, another folder) is read directly.
"""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster import AssetKey, DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.definitions.data_version import DATA_VERSION_TAG, INPUT_DATA_VERSION_TAG_PREFIX
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster_shared.serdes import deserialize_value

from rlaif_dagster.defs.provenance import RECIPES
from rlaif_dagster.defs.storage import (
    REMEDY,
    SETTINGS_FILE,
    is_elsewhere,
    is_of_database,
    refuse_foreign_settings,
    word_error,
)
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.auditing.events import SUCCESS, EventLog, MaterialisationEvent

_PAGE = 1000
_HISTORY = "history"
"""The folder of a Dagster home that holds runs and events."""


def read_events(home: Path) -> EventLog:
    """Reads every materialisation and the state of every run; changes nothing in the folder.

    Args:
        home: Dagster's folder.
    """
    try:
        refuse_foreign_settings(home)
    except StorageError as error:
        words = "; ".join(line.strip() for line in str(error).splitlines())
        return EventLog(events=(), runs={}, unread=words)
    with TemporaryDirectory(prefix="rlaif-audit-") as temporary:
        copy = Path(temporary)
        damage = tuple(_copy_databases(home, copy))
        if damage:
            return EventLog(events=(), runs={}, damage=damage)
        opened = False
        try:
            with DagsterInstance.from_config(str(copy)) as instance:
                opened = True
                return _read_instance(instance)
        # Databases, drivers, settings, Dagster and SQLAlchemy each raise their own errors.
        except Exception as error:  # noqa: BLE001 - it is told, as a finding or as what was not looked at
            words = f"Dagster cannot read it ({word_error(error)})"
            is_damage = not is_elsewhere(copy) if is_of_database(error) else opened
            if is_damage:
                return EventLog(events=(), runs={}, damage=((f"{home.name}/{_HISTORY}", words),))
            return EventLog(events=(), runs={}, unread=f"{words}; {REMEDY}")


def _copy_databases(home: Path, copy: Path) -> Iterator[tuple[str, str]]:
    """Copies the settings and every database; yields those that SQLite finds damaged."""
    settings = home / SETTINGS_FILE
    if settings.is_file():
        shutil.copyfile(settings, copy / settings.name)
    for path in sorted((home / _HISTORY).rglob("*.db*")):
        if path.is_file():
            target = copy / path.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for path in sorted(copy.rglob("*.db")):
        try:
            with closing(sqlite3.connect(path)) as database:
                [(words,), *_] = database.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.DatabaseError as error:
            words = str(error)
        if words != "ok":
            yield f"{home.name}/{path.relative_to(copy).as_posix()}", f"a damaged database ({words})"


def _read_instance(instance: DagsterInstance) -> EventLog:
    assets = [key for key in instance.get_asset_keys() if key != RECIPES]
    numbered = [event for key in assets for event in _read_asset(instance, key)]
    events = tuple(event for _, event in sorted(numbered, key=lambda item: item[0]))
    runs = {run.dagster_run.run_id: run.dagster_run.status.value for run in instance.get_run_records()}
    storage = instance.event_log_storage
    damage = _compare_shards(storage, events, runs) if isinstance(storage, SqliteEventLogStorage) else ()
    return EventLog(events=events, runs=runs, damage=tuple(damage))


def _read_asset(instance: DagsterInstance, key: AssetKey) -> Iterator[tuple[int, MaterialisationEvent]]:
    """Yields the materialisations of an asset, oldest first, each with its number in the log."""
    cursor, has_more = None, True
    while has_more:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            event = _describe(record.event_log_entry)
            if event is not None:
                yield record.storage_id, event
        cursor, has_more = page.cursor, page.has_more


def _compare_shards(
    storage: SqliteEventLogStorage, events: Iterable[MaterialisationEvent], runs: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yields differences between Dagster's two copies of each materialisation: in the run's database and in the index.

    Dagster writes to the index last: a killed run may have a materialisation in its database only.
    """
    events = [event for event in events if event.run_id]
    run_ids = {*storage.get_all_run_ids(), *(event.run_id for event in events)}
    shards = {run_id: list(_read_shard(storage.path_for_shard(run_id))) for run_id in sorted(run_ids)}
    in_runs = [event for shard in shards.values() for event in shard]
    excused = [shard[-1] for run_id, shard in shards.items() if shard and runs.get(run_id) != SUCCESS]
    for these, those, words in (
        (events, in_runs, "a materialisation that is in the index, but not in the run's own database"),
        (
            in_runs,
            [*events, *excused],
            "a materialisation that is in the run's own database, but not in the index",
        ),
    ):
        num_left = Counter(map(repr, those))
        for event in these:
            num_left[repr(event)] -= 1
            if num_left[repr(event)] < 0:
                yield event.place, f"{words}: version {event.digest}, record {event.record}"


def _read_shard(path: str) -> Iterator[MaterialisationEvent]:
    """Yields the materialisations in a run's database, read directly, because every run has one."""
    if not Path(path).exists():
        return
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'event_logs'").fetchone():
            return  # the run was killed right after its start
        rows = database.execute(
            "SELECT event FROM event_logs WHERE dagster_event_type = ? ORDER BY id",
            (DagsterEventType.ASSET_MATERIALIZATION.value,),
        ).fetchall()
    for (text,) in rows:
        event = _describe(deserialize_value(text, EventLogEntry))
        if event is not None:
            yield event


def _describe(entry: EventLogEntry) -> MaterialisationEvent | None:
    materialization = entry.asset_materialization
    if materialization is None:
        return None
    asset = materialization.asset_key.to_user_string()
    tags = materialization.tags or {}
    record = materialization.metadata.get("record")
    prefix = f"{INPUT_DATA_VERSION_TAG_PREFIX}/"
    inputs = {
        name.removeprefix(prefix): version
        for name, version in sorted(tags.items())
        if name.startswith(prefix)
    }
    recipe = inputs.pop(RECIPES.to_user_string(), None)
    return MaterialisationEvent(
        asset=asset,
        run_id=entry.run_id,
        digest=tags.get(DATA_VERSION_TAG),
        record=None if record is None else str(record.value),
        inputs=inputs,
        recipe=recipe,
    )
