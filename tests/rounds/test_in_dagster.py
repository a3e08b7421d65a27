"""Rounds as Dagster shows them: names of two parts, a warning where they stop, and nothing stale afterwards."""

from pathlib import Path

import pytest
from dagster import AssetCheckSeverity, AssetKey, DagsterInstance

from rlaif_dagster.defs.build import build_definitions
from rlaif_dagster.lineage.project import Project
from tests.defs.toy_runs import find_badges, read_latest, read_told_inputs, run_graph
from tests.rounds.toy_rounds import World, build_toy_graph, make_rounds


@pytest.mark.slow
def test_a_run_that_stops_succeeds_and_leaves_nothing_stale(default_project: Path) -> None:
    make_rounds(default_project, rounds=2)
    project = Project.open(default_project)
    graph = build_toy_graph(project, World(wins={1: 0.02}))
    with DagsterInstance.ephemeral() as instance:
        result = run_graph(instance, project, graph)
        assert result.success
        (warning,) = (check for check in result.get_asset_check_evaluations() if not check.passed)
        assert warning.asset_key == AssetKey("plateau")
        assert warning.severity is AssetCheckSeverity.WARN
        told = read_latest(instance, "round_2/aligned_policy")
        assert "gain over the round before" in str(told.metadata["stopped"].value)
        assert set(read_told_inputs(instance, "round_2/sampled_responses")) == {
            "prompts",
            "aligned_policy",
            "plateau",
        }
        assert find_badges(instance, project, graph) == set()
        again = run_graph(instance, project, graph)
        statuses = {
            event.step_materialization_data.materialization.metadata["status"].value
            for event in again.get_asset_materialization_events()
        }
        assert statuses == {"reused"}
    shown = build_definitions(project.root, graph=graph).resolve_asset_graph()
    assert shown.get(AssetKey(["round_2", "sampled_responses"])).group_name == "round_2"
