"""A judge that is found changed marks what it judged, and what was made from that, until it is found the same."""

import json
import shutil
from pathlib import Path

import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.cli.plan import plan_command
from rlaif_dagster.cli.status import status_command
from rlaif_dagster.defs.build import CANARY_JOB, build_definitions
from rlaif_dagster.graph.judge_canary import JUDGE_CANARY
from rlaif_dagster.lineage.drift import find_drifts
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import materialise
from rlaif_dagster.lineage.tracing.trace import trace_subject
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
    assert err.count("judge changed planted answers otherwise than it did") == 2
    materialise(project, project.build_graph()[JUDGE_CANARY], progress=ignore_progress, again=True)
    assert find_drifts(project.ledger) == ()


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


def test_what_another_judge_judged_is_not_in_doubt(project: Project, tmp_path: Path) -> None:
    ask_turned(project, tmp_path)
    write_judge(project.root, seed=1)
    run_to(project.root, "ai_preferences")
    (drift,) = find_drifts(project.ledger)
    assert drift.marked
    assert drift.list_heads(project.ledger.find_heads()) == {}


def test_dagster_is_told_at_each_asset_that_is_in_doubt(project: Project, tmp_path: Path) -> None:
    graph = project.build_graph()
    turned = {**graph, JUDGE_CANARY: turn_judge(graph[JUDGE_CANARY], tmp_path)}
    (tmp_path / "dagster").mkdir()
    with DagsterInstance.local_temp(
        str(tmp_path / "dagster"), overrides={"telemetry": {"enabled": False}}
    ) as instance:
        definitions = build_definitions(project.root, graph=turned)
        definitions.resolve_job_def(CANARY_JOB).execute_in_process(instance=instance, raise_on_error=False)
        for name in MARKED:
            key = AssetRecordsFilter(asset_key=AssetKey(name))
            (event,) = instance.fetch_observations(key, limit=2).records
            assert event.asset_observation is not None
            assert event.asset_observation.metadata["changed_judges"].value == "planted"
            assert event.asset_observation.metadata["version"].value == (
                project.ledger.find_heads()[name].output.digest
            )
