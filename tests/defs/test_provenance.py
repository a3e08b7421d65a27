"""What Dagster is told of a version is what the ledger's record says, and its badges are our stale set."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.data_version import DATA_VERSION_TAG, INPUT_EVENT_POINTER_TAG_PREFIX

from rlaif_dagster.defs.automation import report_state
from rlaif_dagster.defs.events import read_events
from rlaif_dagster.defs.provenance import tell_head
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.lineage.auditing.audit import audit_project
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress

from .toy_runs import EDGES, find_badges, make_graph, make_stage, read_latest, read_told_inputs, run_graph


class LateGraph(dict[str, Stage]):
    """A graph in which looking up one stage, the first thing that its step does, lets something happen before."""

    def __init__(self, graph: Graph, name: str, act: Callable[[], object]) -> None:
        super().__init__(graph)
        self._late, self._act = name, act

    def __getitem__(self, name: str) -> Stage:
        if name == self._late:
            self._act()
        return super().__getitem__(name)


def find_stale(project: Project, graph: Graph) -> tuple[str, ...]:
    """The plan's stale assets."""
    return tuple(item.asset for item in make_plan(project, graph).stale)


def foresee_badges(project: Project, graph: Graph) -> set[str]:
    """The stale assets, and those that Dagster adds: it knows only that a direct input is another version now."""
    heads = project.ledger.find_heads()
    return {
        *find_stale(project, graph),
        *(
            name
            for name, head in heads.items()
            if any(heads[parent].output.digest != read.digest for parent, read in head.inputs.items())
        ),
    }


def read_text(project: Project, asset: str) -> str:
    return (project.root / "data" / asset / "text").read_text()


def check_told(instance: DagsterInstance, project: Project, asset: str) -> None:
    """Digest, inputs and their events are those of the asset's record."""
    head = project.ledger.find_heads()[asset]
    latest = read_latest(instance, asset)
    tags = latest.tags or {}
    assert tags[DATA_VERSION_TAG] == head.output.digest
    assert read_told_inputs(instance, asset) == {n: v.digest for n, v in head.inputs.items()}
    for name, version in head.inputs.items():
        pointer = int(tags[f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{name}"])
        events = instance.fetch_materializations(AssetKey(name), limit=100).records
        (announced,) = [event.asset_materialization for event in events if event.storage_id == pointer]
        assert announced is not None
        assert (announced.tags or {})[DATA_VERSION_TAG] == version.digest


@pytest.mark.slow
def test_a_run_tells_the_digests_that_it_read(project: Project, instance: DagsterInstance) -> None:
    assert run_graph(instance, project, make_graph()).success
    for name in EDGES:
        check_told(instance, project, name)


@pytest.mark.slow
def test_a_version_that_lands_between_step_start_and_load_is_the_one_told(
    project: Project, instance: DagsterInstance
) -> None:
    assert run_graph(instance, project, make_graph()).success
    changed = make_graph(a="new", b="also new")
    late = LateGraph(changed, "b", lambda: run_graph(instance, project, make_graph(a="new"), ["a"]))
    assert run_graph(instance, project, late, ["b"]).success
    check_told(instance, project, "b")
    assert read_text(project, "b") == "b also new\nA NEW"
    assert "b" not in find_badges(instance, project, changed)


@pytest.mark.slow
def test_a_version_that_lands_while_the_stage_runs_is_not_the_one_told(
    project: Project, instance: DagsterInstance
) -> None:
    graph = make_graph(a="old")
    assert run_graph(instance, project, graph).success
    old = project.ledger.find_heads()["a"].output.digest
    other = make_graph(a="new")
    graph["b"] = make_stage("b", "also new", ["a"], act=lambda: run_graph(instance, project, other, ["a"]))
    assert run_graph(instance, project, graph, ["b"]).success
    check_told(instance, project, "b")
    assert read_told_inputs(instance, "b") == {"a": old}
    assert read_text(project, "a") == "a new"
    assert read_text(project, "b") == "b also new\nA OLD"
    assert "b" in find_badges(instance, project, other)


def test_a_version_that_dagster_never_saw_is_told_by_its_digest(
    project: Project, instance: DagsterInstance
) -> None:
    """The record's parent was made by a process without Dagster: there is no event to point to."""
    graph = make_graph()
    materialise(project, graph["a"], progress=ignore_progress)
    assert run_graph(instance, project, graph, ["b"]).success
    assert read_told_inputs(instance, "b") == {
        "a": project.ledger.find_heads()["a"].output.digest,
    }
    tags = read_latest(instance, "b").tags or {}
    assert tags[f"{INPUT_EVENT_POINTER_TAG_PREFIX}/a"] == "NULL"


@pytest.mark.slow
def test_after_an_edit_the_badges_are_the_stale_set_and_after_a_run_they_are_gone(
    project: Project, instance: DagsterInstance
) -> None:
    assert find_badges(instance, project, make_graph()) == set(EDGES)
    assert run_graph(instance, project, make_graph()).success
    assert find_badges(instance, project, make_graph()) == set()
    edited = make_graph(b="new")
    report_state(instance, project, edited)
    assert find_badges(instance, project, edited) == {"b", "c", "d"}
    report_state(instance, project, make_graph())
    assert find_badges(instance, project, make_graph()) == set()
    report_state(instance, project, edited)
    assert run_graph(instance, project, edited, ["b", "c", "d"]).success
    assert find_badges(instance, project, edited) == set()


@pytest.mark.slow
def test_what_comes_out_the_same_ends_the_staleness_there(
    project: Project, instance: DagsterInstance
) -> None:
    """`c` reads `b` in upper case, so it comes out the same, and `d` is fresh without being looked at."""
    assert run_graph(instance, project, make_graph(b="x")).success
    edited = make_graph(b="X")
    report_state(instance, project, edited)
    assert find_badges(instance, project, edited) == {"b", "c", "d"}
    assert run_graph(instance, project, edited, ["b", "c"]).success
    report_state(instance, project, edited)
    assert find_stale(project, edited) == ()
    assert find_badges(instance, project, edited) == set()


@pytest.mark.slow
def test_after_the_head_moves_back_dagster_shows_the_older_version(
    project: Project, instance: DagsterInstance
) -> None:
    """Another process takes the ledger back to an older version, as a rollback does."""
    assert run_graph(instance, project, make_graph(a="old")).success
    older = project.ledger.find_heads()["a"]
    assert run_graph(instance, project, make_graph(a="new")).success
    materialise(Project.open(project.root), make_graph(a="old")["a"], progress=ignore_progress)
    assert (read_latest(instance, "a").tags or {})[DATA_VERSION_TAG] != older.output.digest
    for wanted in (make_graph(a="new"), make_graph(a="old")):
        report_state(instance, project, wanted)
        check_told(instance, project, "a")
        assert (read_latest(instance, "a").tags or {})[DATA_VERSION_TAG] == older.output.digest
        assert find_badges(instance, project, wanted) == foresee_badges(project, wanted)
    assert find_stale(project, make_graph(a="old")) == ("b", "c", "d")


@pytest.mark.slow
def test_what_dagster_knows_already_is_not_told_again(project: Project, instance: DagsterInstance) -> None:
    assert run_graph(instance, project, make_graph()).success
    before = instance.event_log_storage.get_maximum_record_id()
    report_state(instance, project, make_graph())
    for name, head in project.ledger.find_heads().items():
        tell_head(instance, make_graph()[name], head)
    assert instance.event_log_storage.get_maximum_record_id() == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_the_badges_are_the_stale_set(
    seed: int, project: Project, instance: DagsterInstance
) -> None:
    """Edits, partial runs, runs without Dagster and returns to older settings, in any order."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    settings = dict.fromkeys(EDGES, "x")
    for _ in range(6):
        settings[chance.choice(list(EDGES))] = chance.choice(["x", "X", "y"])
        graph = make_graph(**settings)
        made = [name for name in EDGES if name in project.ledger.find_heads()]
        ready = [name for name in EDGES if set(EDGES[name]) <= set(made)]
        match chance.randrange(3):
            case 0:
                assert run_graph(instance, project, graph, [chance.choice(ready)]).success
            case 1:
                materialise(project, graph[chance.choice(ready)], progress=ignore_progress)
            case _:
                assert run_graph(instance, project, graph).success
        report_state(instance, project, graph)
        assert find_badges(instance, project, graph) == foresee_badges(project, graph)


@pytest.mark.slow
def test_the_audit_has_nothing_against_what_is_told_outside_runs(project: Project, tmp_path: Path) -> None:
    with DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        graph = {name: make_graph()[name] for name in ("a", "b")}
        assert run_graph(instance, project, graph).success
        materialise(Project.open(project.root), make_graph(a="new")["a"], progress=ignore_progress)
        report_state(instance, project, graph)
    events = read_events(tmp_path)
    assert [(event.asset, bool(event.run_id)) for event in events.events] == [
        ("a", True),
        ("b", True),
        ("a", False),
    ]
    report = audit_project(project, target=None, events=events, progress=ignore_progress)
    assert report.findings == ()
    forged = dataclasses.replace(events.events[-1], recipe="sha256:" + 64 * "0")
    log = dataclasses.replace(events, events=(*events.events[:-1], forged))
    report = audit_project(project, target=None, events=log, progress=ignore_progress)
    assert [finding.kind for finding in report.findings] == ["event-differs"]
