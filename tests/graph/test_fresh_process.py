"""A stage can be computed anywhere: its `compute`, its spec and its context are values, and nothing else is needed."""

import pickle
from pathlib import Path

import pytest

from benchmarks.projects import make_recorded
from proofs.fresh_process import compute_afresh
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress
from tests.graph.every_graph import read_every_graph

ASSETS = ("constitution", "judge", "prompts", "sampled_responses", "judgements")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with recorded feedback, up to the verdicts."""
    folder = tmp_path_factory.mktemp("recorded") / "project"
    make_recorded(folder)
    project = Project.open(folder)
    graph = project.build_graph()
    for name in ASSETS:
        materialise(project, graph[name], progress=ignore_progress)
    return project


@pytest.mark.slow
@pytest.mark.parametrize("name", ["constitution", "prompts", "judgements"])
def test_a_stage_gives_the_same_bytes_in_a_fresh_process(name: str, project: Project, tmp_path: Path) -> None:
    recorded = project.ledger.find_heads()[name].output.digest
    assert str(compute_afresh(project, project.build_graph()[name], tmp_path)) == recorded


@pytest.mark.slow
def test_every_stage_can_be_pickled_and_its_spec_comes_back_equal() -> None:
    """Whole, with its checks, its price and what compares its versions."""
    for stage in read_every_graph().stages:
        back: Stage = pickle.loads(pickle.dumps(stage))  # noqa: S301 - our own bytes
        assert back.identity == stage.identity
        assert back.identity.settings == stage.identity.settings
        assert [check.name for check in back.governance.checks] == [c.name for c in stage.governance.checks]
