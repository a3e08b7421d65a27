"""A judge that is found changed marks what it judged, and what was made from that, until it is found the same."""

import dataclasses
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.cli.plan import plan_command
from rlaif_dagster.cli.status import status_command
from rlaif_dagster.defs.automation import report_state
from rlaif_dagster.defs.build import CANARY_JOB, build_definitions
from rlaif_dagster.defs.provenance import describe_doubt
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.drift import find_drifts
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.lineage.tracing.trace import trace_subject
from rlaif_dagster.names import JUDGE_CANARY
from rlaif_dagster.progress import ignore_progress
from tests.graph.planted_project import make_planted, run_to, turn_judge, write_judge

MARKED = ["judgements", "judge_audit", "ai_preferences"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("drift") / "project"
    init_command(base)
    make_planted(base)
    run_to(base, "ai_preferences")
    return base


@pytest.fixture
def project(base: Path, tmp_path: Path) -> Project:
    shutil.copytree(base, tmp_path / "project")
    return Project.open(tmp_path / "project")


def ask_turned(project: Project, folder: Path) -> None:
    stage = turn_judge(project.build_graph()[JUDGE_CANARY], folder)
    materialise(project, stage, progress=ignore_progress, again=True)


@pytest.mark.slow
def test_a_failed_canary_marks_what_was_judged_and_made_from_it_until_one_is_well(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_drifts(project.ledger) == ()
    heads = project.ledger.find_heads()
    ask_turned(project, tmp_path)
    (drift,) = find_drifts(project.ledger)
    assert drift.names == ("planted",)
    assert drift.judge == heads["judge"].output.digest
    assert drift.last_good_at == heads[JUDGE_CANARY].ended_at
    assert list(drift.list_heads(heads)) == MARKED
    changed = trace_subject(project, "judge:planted").facts["changed"]
    assert changed == [
        {
            "found_at": drift.found_at.isoformat(),
            "last_good_at": heads[JUDGE_CANARY].ended_at.isoformat(),
            "in_doubt": [f"{name}@{heads[name].output.digest}" for name in MARKED],
        }
    ]
    status_command(project.root, as_json=True)
    plan_command(project.root, [], as_json=True)
    out, err = capsys.readouterr()
    for line in out.splitlines():
        (told,) = json.loads(line)["drifts"]
        assert told["judges"] == ["planted"]
        assert told["marked"] == {name: heads[name].output.digest for name in MARKED}
    assert err.count("judge changed planted no longer answers as before") == 2
    materialise(project, project.build_graph()[JUDGE_CANARY], progress=ignore_progress, again=True)
    assert find_drifts(project.ledger) == ()


@pytest.mark.slow
def test_what_was_judged_before_the_last_good_canary_is_not_in_doubt(
    project: Project, tmp_path: Path
) -> None:
    """Other judgements by the same judge, each with a good canary behind it; only the second are held against it."""
    before = project.ledger.find_heads()["judgements"].output.digest
    (project.root / "inputs" / "constitution.yaml").write_text(
        json.dumps({"principles": [{"id": "brief", "text": "Be brief."}]})
    )
    after = run_to(project.root, "ai_preferences")["judgements"].output.digest
    ask_turned(project, tmp_path)
    (drift,) = find_drifts(project.ledger)
    assert ("judgements", after) in drift.marked
    assert ("judgements", before) not in drift.marked


@pytest.mark.slow
def test_what_another_judge_judged_is_not_in_doubt(project: Project, tmp_path: Path) -> None:
    ask_turned(project, tmp_path)
    write_judge(project.root, seed=1)
    run_to(project.root, "ai_preferences")
    (drift,) = find_drifts(project.ledger)
    assert drift.marked
    assert drift.list_heads(project.ledger.find_heads()) == {}


def read_newest(instance: DagsterInstance) -> dict[str, dict[str, Any]]:
    """What Dagster was told last of each asset in an observation."""
    newest: dict[str, dict[str, Any]] = {}
    for name in MARKED:
        (event,) = instance.fetch_observations(AssetKey(name), limit=1).records
        assert event.asset_observation is not None
        newest[name] = {key: value.value for key, value in event.asset_observation.metadata.items()}
    return newest


def count_observations(instance: DagsterInstance) -> list[int]:
    return [len(instance.fetch_observations(AssetKey(name), limit=9).records) for name in MARKED]


@pytest.mark.slow
def test_dagster_is_told_at_each_asset_that_is_in_doubt_once_and_when_it_is_no_more(
    project: Project, tmp_path: Path
) -> None:
    graph = project.build_graph()
    heads = {name: head.output.digest for name, head in project.ledger.find_heads().items()}
    turned = {**graph, JUDGE_CANARY: turn_judge(graph[JUDGE_CANARY], tmp_path)}
    (tmp_path / "dagster").mkdir()
    with DagsterInstance.local_temp(
        str(tmp_path / "dagster"), overrides={"telemetry": {"enabled": False}}
    ) as instance:

        def run_canary(graph: Graph) -> None:
            job = build_definitions(project.root, graph=graph).resolve_job_def(CANARY_JOB)
            job.execute_in_process(instance=instance, raise_on_error=False)

        run_canary(turned)
        report_state(instance, project, graph)
        assert count_observations(instance) == [1, 1, 1]
        for name, told in read_newest(instance).items():
            assert (told["changed_judges"], told["version"]) == ("planted", heads[name])
        run_canary(graph)
        report_state(instance, project, graph)
        assert count_observations(instance) == [2, 2, 2]
        for name, told in read_newest(instance).items():
            assert told == {"changed_judges": "none", "version": heads[name]}


@pytest.mark.slow
def test_dagster_learns_of_a_doubt_that_came_from_elsewhere(project: Project, tmp_path: Path) -> None:
    """By the command line, or by a pull: the sensor tells of it, and of its end."""
    graph = project.build_graph()
    with DagsterInstance.ephemeral() as instance:
        ask_turned(project, tmp_path)
        report_state(instance, project, graph)
        assert {told["changed_judges"] for told in read_newest(instance).values()} == {"planted"}
        materialise(project, graph[JUDGE_CANARY], progress=ignore_progress, again=True)
        report_state(instance, project, graph)
        assert {told["changed_judges"] for told in read_newest(instance).values()} == {"none"}


def test_dagster_learns_of_every_judge_that_an_asset_rests_on_and_that_changed(
    project: Project, tmp_path: Path
) -> None:
    """Two versions of the judge, both found changed; what the newest version of an asset rests on names both."""
    ask_turned(project, tmp_path)
    first = find_drifts(project.ledger)[0]
    later = first.found_at + datetime.timedelta(hours=1)
    other = dataclasses.replace(first, names=("another",), found_at=later, last_good_at=None)
    head = project.ledger.find_heads()["judgements"]
    assert describe_doubt(head, [first, other]) == {
        "changed_judges": "planted, another",
        "version": head.output.digest,
        "found_at": later.isoformat(),
        "last_good_at": "never",
    }
    assert first.last_good_at is not None
    assert describe_doubt(head, [first])["last_good_at"] == first.last_good_at.isoformat()
