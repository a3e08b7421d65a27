"""Dagster's event log against the ledger: a real run's log, and what a person could do to it."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.defs.events import read_events
from rlaif_dagster.defs.execution import prepare_dagster_home
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.auditing.events import EventLog, MaterialisationEvent
from rlaif_dagster.lineage.auditing.findings import AuditReport
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from tests.conftest import edit_yaml, run_assets

from .audited_projects import audit, make_project, make_text_stage, name_findings, run, snapshot

# --- the comparison, on plain values ---


@pytest.fixture
def records(tmp_path: Path) -> dict[str, MaterialisationRecord]:
    """Two assets, each twice, each by a run of its own; by "asset text"."""
    from rlaif_dagster.versioning.store import init_store

    init_store(tmp_path)
    project = Project.open(tmp_path)
    return {
        f"{name} {text}": run(project, make_text_stage(name, text, inputs), f"run {name} {text}").record
        for text in ("x", "y")
        for name, inputs in (("a", ()), ("b", ("a",)))
    }


def make_event(record: MaterialisationRecord) -> MaterialisationEvent:
    return MaterialisationEvent(
        asset=record.asset,
        run_id=str(record.run_id),
        digest=record.output.digest,
        record=record.record_id,
        inputs={name: version.digest for name, version in record.inputs.items()},
    )


Change = Callable[[MaterialisationEvent], MaterialisationEvent]


def alter(**fields: object) -> Change:
    def change(event: MaterialisationEvent) -> MaterialisationEvent:
        values = {name: getattr(event, name) for name in MaterialisationEvent.__slots__}
        return MaterialisationEvent(**values | fields)

    return change


def audit_events(
    root: Path, events: list[MaterialisationEvent], runs: list[str] | None = None
) -> list[tuple[str, str]]:
    known = [event.run_id for event in events] if runs is None else runs
    return name_findings(
        audit(root, events=EventLog(events=tuple(events), runs=dict.fromkeys(known, "SUCCESS"))).findings
    )


def test_a_log_that_tells_what_the_ledger_tells_has_no_finding(
    records: dict[str, MaterialisationRecord], tmp_path: Path
) -> None:
    events = [make_event(record) for record in records.values()]
    assert audit_events(tmp_path, events) == []
    reused = alter(run_id="another run")(events[3])
    assert audit_events(tmp_path, [*events, reused]) == []


def test_runs_that_this_dagster_does_not_know_need_no_event(
    records: dict[str, MaterialisationRecord], tmp_path: Path
) -> None:
    """A teammate's records come with git, their event log does not; a log may also be moved away."""
    assert audit_events(tmp_path, []) == []
    assert audit_events(tmp_path, [make_event(records["a x"])]) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (alter(digest="sha256:" + "0" * 64), "event-differs"),
        (alter(digest=None), "event-differs"),
        (alter(inputs={"a": "sha256:" + "0" * 64}), "event-differs"),
        (alter(record="0" * 64), "event-unknown"),
        (alter(record=None), "event-unknown"),
    ],
)
def test_an_event_that_tells_something_else_is_found(
    records: dict[str, MaterialisationRecord], tmp_path: Path, change: Change, kind: str
) -> None:
    *events, last = [make_event(record) for record in records.values()]
    found = audit_events(tmp_path, [*events, change(last)])
    assert (kind, "Dagster run run b y, b") in found


def test_a_dropped_event_is_found_while_its_run_is_known(
    records: dict[str, MaterialisationRecord], tmp_path: Path
) -> None:
    events = [make_event(record) for record in records.values()]
    for event in events:
        rest = [other for other in events if other != event]
        found = audit_events(tmp_path, rest, runs=[event.run_id for event in events])
        assert ("event-missing", event.place) in found


@pytest.mark.parametrize("state", ["STARTED", "FAILURE"])
def test_what_a_killed_run_could_not_tell_may_be_told_by_a_later_one(
    records: dict[str, MaterialisationRecord], tmp_path: Path, state: str
) -> None:
    *events, last = [make_event(record) for record in records.values()]
    later = alter(run_id="later")(last)

    def audit_with(event: MaterialisationEvent | None, state: str) -> list[str]:
        log = EventLog(
            events=(*events, *([event] if event else [])),
            runs={**dict.fromkeys([event.run_id for event in events], "SUCCESS"), last.run_id: state},
        )
        return [finding.kind for finding in audit(tmp_path, events=log).findings]

    assert audit_with(later, state) == []
    assert "event-missing" in audit_with(None, state)
    assert audit_with(later, "SUCCESS") == ["event-missing"]


def test_events_in_another_order_are_found(records: dict[str, MaterialisationRecord], tmp_path: Path) -> None:
    a_x, b_x, a_y, b_y = [make_event(record) for record in records.values()]
    assert audit_events(tmp_path, [a_y, b_x, a_x, b_y]) == [("event-differs", "Dagster run run a x, a")]


def test_events_that_swapped_their_places_are_found(
    records: dict[str, MaterialisationRecord], tmp_path: Path
) -> None:
    a_x, b_x, a_y, b_y = [make_event(record) for record in records.values()]
    swapped = [alter(run_id=a_y.run_id)(a_x), alter(run_id=a_x.run_id)(a_y)]
    found = audit_events(tmp_path, [*swapped, b_x, b_y])
    assert {kind for kind, _ in found} == {"event-missing"}


def test_events_of_other_assets_are_not_the_audited_ones(
    records: dict[str, MaterialisationRecord], tmp_path: Path
) -> None:
    events = [make_event(record) for record in records.values()]
    log = EventLog(events=(*events[:3], alter(record=None)(events[3])), runs={})
    assert audit(tmp_path, "a", events=log).findings == ()
    assert audit(tmp_path, "b", events=log).findings


# --- a real log ---


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two runs of Dagster materialised two assets, the second one after an edit."""
    root = tmp_path_factory.mktemp("events") / "project"
    init_command(root)
    run_assets("prompts", "constitution", project=root)
    edit_yaml(root / "inputs" / "constitution.yaml", lambda file: file["principles"][0].update(weight=7))
    run_assets("prompts", "constitution", project=root)
    return root


def audit_with_log(root: Path) -> AuditReport:
    before = snapshot(root)
    events = read_events(root / ".dagster")
    assert snapshot(root) == before
    return audit(root, events=events)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def list_databases(root: Path) -> list[Path]:
    """The index and the databases of the two runs; what is told outside runs is in `.db`."""
    paths = sorted((root / ".dagster" / "history" / "runs").glob("[!.]*.db"))
    assert len(paths) == 3
    return paths


def edit_events(root: Path, change: Callable[[str], str]) -> None:
    """Changes every materialisation, in the index and in the runs."""
    for path in list_databases(root):
        with opened(path) as database:
            rows = database.execute(
                "SELECT id, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
            ).fetchall()
            for number, event in rows:
                database.execute("UPDATE event_logs SET event = ? WHERE id = ?", (change(event), number))


@pytest.mark.slow
def test_what_dagster_was_told_agrees_with_the_ledger(template: Path) -> None:
    report = audit_with_log(template)
    assert (report.findings, report.skipped, report.num_events) == ((), (), 4)
    events = read_events(template / ".dagster")
    assert set(events.runs.values()) == {"SUCCESS"}
    assert [event.asset for event in events.events].count("prompts") == 2


@pytest.mark.slow
def test_a_version_changed_in_the_log_is_found(root: Path) -> None:
    digest = Project.open(root).ledger.find_heads()["constitution"].output.digest
    edit_events(root, lambda event: event.replace(digest, "sha256:" + "0" * 64))
    assert {finding.kind for finding in audit_with_log(root).findings} == {"event-differs"}


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_digit_of_a_digest_that_was_told_counts(
    template: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """In any event of any database, in the version that it tells or the record that it names."""
    root = Path(shutil.copytree(template, tmp_path_factory.mktemp("told") / "project"))
    path = data.draw(st.sampled_from(list_databases(root)), label="database")
    with opened(path) as database:
        rows = database.execute(
            "SELECT id, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
            "AND asset_key != '[\"recipes\"]'"
        ).fetchall()
        number, text = data.draw(st.sampled_from(rows), label="event")
        told = json.loads(text)
        materialization = told["dagster_event"]["event_specific_data"]["materialization"]
        entries = {entry["label"]: entry["entry_data"] for entry in materialization["metadata_entries"]}
        holder, key = data.draw(
            st.sampled_from([(materialization["tags"], "dagster/data_version"), (entries["record"], "text")]),
            label="field",
        )
        position = data.draw(st.integers(-64, -1), label="position")
        digits = list(holder[key])
        digits[position] = "0123456789abcdef"[(int(digits[position], 16) + 1) % 16]
        holder[key] = "".join(digits)
        database.execute("UPDATE event_logs SET event = ? WHERE id = ?", (json.dumps(told), number))
    path.chmod(data.draw(st.sampled_from([0o444, 0o644]), label="mode"))
    kinds = {finding.kind for finding in audit_with_log(root).findings}
    assert kinds & {"event-differs", "event-unknown", "event-log-damaged"}


@pytest.mark.slow
def test_a_materialisation_dropped_from_index_and_run_is_found(root: Path) -> None:
    for path in list_databases(root):
        with opened(path) as database:
            database.execute(
                "DELETE FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
                "AND asset_key = '[\"constitution\"]'"
            )
    kinds = {finding.kind for finding in audit_with_log(root).findings}
    assert kinds == {"event-missing"}


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_materialisation_dropped_from_one_place_is_found(root: Path, which: int) -> None:
    """Even one that has no record of its own, since it only reused the newest version."""
    index = [path for path in list_databases(root) if path.name == "index.db"]
    runs = [path for path in list_databases(root) if path.name != "index.db"]
    with opened([*index, *runs][which]) as database:
        database.execute(
            "DELETE FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
            "AND asset_key = '[\"prompts\"]'"
        )
    findings = audit_with_log(root).findings
    assert "event-log-damaged" in {finding.kind for finding in findings}


@pytest.mark.slow
def test_a_run_killed_between_its_database_and_the_index_is_no_damage_once_another_has_told(
    root: Path,
) -> None:
    runs = root / ".dagster" / "history" / "runs.db"
    with opened(runs) as database:
        [(run_id,)] = database.execute("SELECT run_id FROM runs ORDER BY id DESC LIMIT 1").fetchall()
    with opened(root / ".dagster" / "history" / "runs" / "index.db") as database:
        database.execute(
            "DELETE FROM event_logs WHERE id = (SELECT max(id) FROM event_logs WHERE run_id = ? "
            "AND dagster_event_type = 'ASSET_MATERIALIZATION')",
            (run_id,),
        )
    assert "event-log-damaged" in {finding.kind for finding in audit_with_log(root).findings}
    with opened(runs) as database:
        database.execute("UPDATE runs SET status = 'STARTED' WHERE run_id = ?", (run_id,))
    assert "event-log-damaged" not in {finding.kind for finding in audit_with_log(root).findings}
    run_assets("prompts", "constitution", project=root)
    (
        root / ".dagster" / "history" / "runs" / "00000000-0000-0000-0000-000000000000.db"
    ).touch()  # killed at once
    assert audit_with_log(root).findings == ()


@pytest.mark.slow
def test_a_forged_materialisation_is_found(root: Path) -> None:
    for path in list_databases(root):
        with opened(path) as database:
            row = database.execute(
                "SELECT run_id, event, dagster_event_type, timestamp, asset_key FROM event_logs "
                "WHERE dagster_event_type = 'ASSET_MATERIALIZATION' LIMIT 1"
            ).fetchone()
            known = json.loads(row[1])["dagster_event"]["event_specific_data"]["materialization"]["tags"]
            forged = row[1].replace(known["dagster/data_version"].removeprefix("sha256:"), "0" * 64)
            database.execute(
                "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, asset_key) "
                "VALUES (?, ?, ?, ?, ?)",
                (row[0], forged, *row[2:]),
            )
    assert audit_with_log(root).findings


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index.db", "runs.db", "a run"])
@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"?" + data[1:]])
def test_a_damaged_database_is_found_and_named(
    root: Path, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    folder = root / ".dagster" / "history"
    run = next(path for path in list_databases(root) if path.name != "index.db")
    path = {"index.db": folder / "runs" / "index.db", "runs.db": folder / "runs.db"}.get(name, run)
    path.write_bytes(spoil(path.read_bytes()))
    [(kind, place)] = name_findings(audit_with_log(root).findings)
    assert (kind, place) == ("event-log-damaged", path.relative_to(root).as_posix())


@pytest.mark.slow
def test_an_index_that_dagster_cannot_read_is_found(root: Path) -> None:
    with opened(root / ".dagster" / "history" / "runs" / "index.db") as database:
        database.execute("ALTER TABLE event_logs RENAME COLUMN event TO gone")
    assert {finding.kind for finding in audit_with_log(root).findings} == {"event-log-damaged"}


@pytest.mark.slow
def test_a_dropped_database_of_a_run_is_found(root: Path) -> None:
    next(path for path in list_databases(root) if path.name != "index.db").unlink()
    assert {finding.kind for finding in audit_with_log(root).findings} == {"event-log-damaged"}


@pytest.mark.slow
def test_a_record_removed_from_the_end_of_the_ledger_is_missed_by_the_log(root: Path) -> None:
    newest = Project.open(root).ledger.records()[-1]
    assert newest.asset == "constitution"
    (root / "lineage" / f"{newest.record_id}.json").unlink()
    assert "event-unknown" in {finding.kind for finding in audit_with_log(root).findings}


@pytest.mark.slow
def test_a_project_without_a_log_is_audited_without_it(root: Path) -> None:
    shutil.rmtree(root / ".dagster")
    report = audit(root)
    assert report.findings == ()
    assert report.skipped == ("Dagster's event log: this project has none",)


# --- a storage that dagster.yaml places elsewhere ---

POSTGRES = """\
storage:
  postgres:
    postgres_db: {hostname: 127.0.0.1, port: 1, username: dagster, db_name: dagster, password: SECRET}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        POSTGRES,  # without its driver, or with it and no server at that port
        POSTGRES.replace("SECRET", "{env: NO_SUCH_VARIABLE}"),
        "event_log_storage: {module: no_such_module, class: Storage, config: {}}\n",
        "storage: {sqlite: {base_dir: {env: NO_SUCH_VARIABLE}}}\n",
        "storage: [\n",
    ],
)
def test_a_storage_that_cannot_be_opened_is_not_looked_at_and_no_finding(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing driver, a wrong setting or a server that is down is no sign that somebody changed the log."""
    project = make_project(tmp_path)
    (tmp_path / ".dagster").mkdir()
    (tmp_path / ".dagster" / "dagster.yaml").write_text(text)
    report = audit_with_log(tmp_path)
    assert (report.findings, report.num_events) == ((), None)
    [skipped] = report.skipped
    assert skipped.startswith("Dagster's event log: Dagster cannot read it (")
    assert "docs/operating.md" in skipped
    for name in ("DAGSTER_HOME", "RLAIF_PROJECT"):
        monkeypatch.setenv(name, "")
    with pytest.raises(StorageError, match=r"(?s)cannot be read or written.*remedy: check that the storage"):
        prepare_dagster_home(project)
