"""The sensors and the schedule request exactly what is stale, once; nothing that is wrong makes them crash."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunRequest,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
)

from rlaif_dagster.defs.automation import report_state, request_rebuild
from rlaif_dagster.defs.build import CANARY_JOB, MAIN_JOB, build_definitions
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.running import find_running, hold_run
from tests.conftest import edit_yaml
from tests.plain_stages import change

from .toy_runs import EDGES, FAILING, OPEN, RAISING, find_badges, make_graph, run_graph


def request(instance: DagsterInstance, project: Project, graph: Graph) -> RunRequest:
    """Requests a run that must be granted."""
    answer = request_rebuild(instance, project, graph)
    assert isinstance(answer, RunRequest), answer.skip_message
    return answer


def refuse(instance: DagsterInstance, project: Project, graph: Graph) -> str:
    """The reason why no run is requested."""
    answer = request_rebuild(instance, project, graph)
    assert isinstance(answer, SkipReason)
    assert answer.skip_message
    return answer.skip_message


def name_assets(request: RunRequest) -> list[str]:
    return [key.to_user_string() for key in request.asset_selection or []]


def obey(instance: DagsterInstance, project: Project, graph: Graph, request: RunRequest) -> bool:
    """Does what the daemon does with a request; says whether the run succeeded."""
    return run_graph(instance, project, graph, name_assets(request), request.tags).success


@pytest.mark.slow
def test_everything_is_requested_once_then_nothing_is_stale(
    project: Project, instance: DagsterInstance
) -> None:
    first = request(instance, project, make_graph())
    assert sorted(name_assets(first)) == sorted(EDGES)
    assert obey(instance, project, make_graph(), first)
    assert refuse(instance, project, make_graph()) == "nothing is stale"


@pytest.mark.slow
def test_an_edit_requests_what_depends_on_it_and_each_return_requests_again(
    project: Project, instance: DagsterInstance
) -> None:
    """A -> B -> A -> B: a state of the inputs is requested each time that it comes back."""
    old, new = make_graph(b="old"), make_graph(b="new")
    assert run_graph(instance, project, old).success
    keys = set()
    for graph in (new, old, new):
        edit = request(instance, project, graph)
        assert name_assets(edit) == ["b", "c", "d"]
        assert obey(instance, project, graph, edit)
        assert refuse(instance, project, graph) == "nothing is stale"
        keys.add(edit.run_key)
    assert len(keys) == 3


def test_until_the_run_starts_the_same_edit_has_the_same_key(
    project: Project, instance: DagsterInstance
) -> None:
    """So the daemon, which knows the key of the run that it launched, launches no second one."""
    first, again = (request(instance, project, make_graph()) for _ in range(2))
    assert first.run_key == again.run_key


@pytest.mark.slow
def test_a_run_that_failed_is_not_requested_again_before_an_edit(
    project: Project, instance: DagsterInstance
) -> None:
    assert run_graph(instance, project, make_graph()).success
    kept = project.ledger.find_heads()["d"].record_id
    broken = make_graph(a="new", c=RAISING)
    assert not obey(instance, project, broken, request(instance, project, broken))
    assert "left something stale" in refuse(instance, project, broken)
    assert project.ledger.find_heads()["d"].record_id == kept
    fixed = make_graph(a="new", c="works")
    assert name_assets(request(instance, project, fixed)) == ["c", "d"]


@pytest.mark.slow
def test_rows_left_open_are_not_asked_for_again_and_again(
    project: Project, instance: DagsterInstance
) -> None:
    """A stage that leaves rows open stays stale, although its run succeeded."""
    graph = make_graph(c=OPEN)
    assert obey(instance, project, graph, request(instance, project, graph))
    report_state(instance, project, graph)
    assert find_badges(instance, project, graph) == {"c", "d"}
    assert "left something stale" in refuse(instance, project, graph)
    assert name_assets(request(instance, project, make_graph(c="closed"))) == ["c", "d"]


def test_nothing_is_requested_on_a_version_that_failed_its_gate(
    project: Project, instance: DagsterInstance
) -> None:
    graph = make_graph(c=FAILING)
    assert not obey(instance, project, graph, request(instance, project, graph))
    assert refuse(instance, project, graph) == "a failed check blocks the run: c: good"
    assert name_assets(request(instance, project, make_graph(c="better"))) == ["c", "d"]


@pytest.mark.slow
def test_what_a_person_lets_pass_is_built_on(project: Project, instance: DagsterInstance) -> None:
    graph = make_graph(c=FAILING)
    assert not obey(instance, project, graph, request(instance, project, graph))
    failed = project.ledger.find_heads()["c"].output.digest
    override = Override(asset="c", digest=failed, check="good", reason="read by hand")
    opened = {name: change(stage, overrides=(override,)) for name, stage in graph.items()}
    built = request(instance, project, opened)
    assert name_assets(built) == ["d"]
    assert obey(instance, project, opened, built)
    assert refuse(instance, project, opened) == "nothing is stale"
    report_state(instance, project, opened)
    assert find_badges(instance, project, opened) == set()


def test_one_run_at_a_time(project: Project, instance: DagsterInstance) -> None:
    with hold_run(project, "some-run"):
        assert refuse(instance, project, make_graph()) == "a run of this project is in progress (some-run)"
    assert request(instance, project, make_graph())


def test_a_requested_run_that_has_not_started_is_waited_for(
    project: Project, instance: DagsterInstance
) -> None:
    tags = request(instance, project, make_graph()).tags
    run_graph(instance, project, make_graph(), ["a"], tags)
    (run,) = instance.get_runs()
    instance.run_storage.add_run(run._replace(run_id="later", status=DagsterRunStatus.STARTING))
    assert "the run later is waiting to start" in refuse(instance, project, make_graph(b="new"))


@pytest.mark.slow
def test_the_lock_of_a_killed_run_counts_for_nothing(project: Project) -> None:
    code = f"""
import os, signal
from pathlib import Path
from rlaif_dagster.lineage.running import hold_run
from rlaif_dagster.lineage.project import Project
with hold_run(Project(Path({str(project.root)!r})), "killed"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    with hold_run(project, "alive"):
        assert find_running(project) == ("alive",)
    assert find_running(project) == ()
    [left] = (project.scratch / "locks" / "runs").iterdir()
    assert left.name.startswith("killed-")


def test_a_killed_run_is_reported_as_failed_once_and_a_living_one_is_not(
    project: Project, instance: DagsterInstance
) -> None:
    run_graph(instance, project, make_graph(), ["a"], {})
    (run,) = instance.get_runs()
    for run_id in ("killed", "alive", "done"):
        status = DagsterRunStatus.SUCCESS if run_id == "done" else DagsterRunStatus.STARTED
        instance.run_storage.add_run(run._replace(run_id=run_id, status=status))
    locks = project.scratch / "locks" / "runs"
    locks.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    for run_id in ("killed", "done", "unknown"):
        (locks / f"{run_id}-{dead.pid}.lock").touch()
    with hold_run(project, "alive"):
        for _ in range(2):
            report_state(instance, project, make_graph())
            statuses = {each.run_id: each.status for each in instance.get_runs()}
            assert statuses["killed"] is DagsterRunStatus.FAILURE
            assert statuses["alive"] is DagsterRunStatus.STARTED
            assert statuses["done"] is DagsterRunStatus.SUCCESS
            assert [path.name for path in locks.iterdir()] == [f"alive-{os.getpid()}.lock"]
    (told,) = instance.all_logs("killed")
    assert "ended without notice" in str(told.get_dagster_event().message)


def test_the_project_s_sensors_and_schedule(default_project: Path) -> None:
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            automation={"cron": "30 4 * * 1", "canary_cron": "15 */6 * * *", "interval_seconds": 7}
        ),
    )
    definitions = build_definitions(default_project)
    watch, rebuild = (definitions.resolve_sensor_def(name) for name in ("watch_inputs", "rebuild_on_edit"))
    timed = definitions.resolve_schedule_def("rebuild_on_schedule")
    assert watch.default_status is DefaultSensorStatus.RUNNING
    assert rebuild.default_status is DefaultSensorStatus.STOPPED
    assert timed.default_status is DefaultScheduleStatus.STOPPED
    assert (watch.minimum_interval_seconds, rebuild.minimum_interval_seconds) == (7, 7)
    assert (timed.cron_schedule, timed.execution_timezone) == ("30 4 * * 1", "UTC")
    assert rebuild.job_name == timed.job_name == MAIN_JOB
    canary = definitions.resolve_schedule_def("canary")
    assert canary.default_status is DefaultScheduleStatus.STOPPED
    assert (canary.cron_schedule, canary.execution_timezone) == ("15 */6 * * *", "UTC")
    assert canary.job_name == CANARY_JOB


@pytest.mark.slow
def test_sensor_and_schedule_ask_the_same(default_project: Path, tmp_path: Path) -> None:
    definitions = build_definitions(default_project)
    with DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        tick = definitions.resolve_sensor_def("rebuild_on_edit").evaluate_tick(
            build_sensor_context(instance=instance, definitions=definitions)
        )
        timed = definitions.resolve_schedule_def("rebuild_on_schedule").evaluate_tick(
            build_schedule_context(instance=instance)
        )
    (by_sensor,), (by_schedule,) = tick.run_requests or [], timed.run_requests or []
    assert set(name_assets(by_sensor)) == set(Project(default_project).build_graph())
    assert by_sensor.run_key == by_schedule.run_key
    assert name_assets(by_sensor) == name_assets(by_schedule)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("constitution.yaml", "principles: [", "not valid YAML"),
        ("judge.yaml", "provider: nobody\n", "set provider to one of"),
        ("prompts.jsonl", None, "does not exist"),
    ],
)
def test_wrong_inputs_are_a_reason_to_skip(
    file: str, text: str | None, words: str, default_project: Path, instance: DagsterInstance
) -> None:
    definitions = build_definitions(default_project)
    path = default_project / "inputs" / file
    path.unlink() if text is None else path.write_text(text)
    for name in ("watch_inputs", "rebuild_on_edit"):
        answer = definitions.resolve_sensor_def(name).evaluate_tick(
            build_sensor_context(instance=instance, definitions=definitions)
        )
        assert answer.skip_message
        assert words in answer.skip_message
        assert file in answer.skip_message
        assert not answer.run_requests


def test_another_graph_than_the_loaded_one_asks_for_a_reload(
    default_project: Path, instance: DagsterInstance
) -> None:
    definitions = build_definitions(default_project)
    (default_project / "inputs" / "responses.jsonl").write_text(
        '{"prompt": "a", "source": "x", "text": "y"}\n'
    )
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            sampling={"provider": "recorded", "responses": "inputs/responses.jsonl"}
        ),
    )
    answer = definitions.resolve_sensor_def("watch_inputs").evaluate_tick(
        build_sensor_context(instance=instance, definitions=definitions)
    )
    assert "another graph than the one that Dagster has loaded" in str(answer.skip_message)


@pytest.mark.slow
def test_a_tick_loads_no_heavy_library(default_project: Path) -> None:
    code = """
import json, sys
from dagster import DagsterInstance, build_sensor_context
from rlaif_dagster.definitions import defs
with DagsterInstance.ephemeral() as instance:
    for name in ("watch_inputs", "rebuild_on_edit"):
        defs.resolve_sensor_def(name).evaluate_tick(build_sensor_context(instance=instance, definitions=defs))
heavy = {"torch", "transformers", "trl", "datasets", "matplotlib", "scipy"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RLAIF_PROJECT": str(default_project)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []
