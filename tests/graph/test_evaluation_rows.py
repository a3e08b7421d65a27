"""An evaluation samples and judges only what no earlier evaluation has: the policies' answers are rows with keys."""

from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.graph.along_training import CheckpointAnswers
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.learning import read_training
from rlaif_dagster.graph.sources import read_prompts
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import RESPONSES_TABLE
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.prompts import PromptLine, split_prompts
from rlaif_dagster.tables import read_table
from tests.conftest import edit_yaml
from tests.lineage.changes import edit_lines, set_field
from tests.lineage.tiny_project import make_tiny
from tests.plain_stages import change

pytestmark = pytest.mark.slow


def build_ungated_graph(project: Project) -> Graph:
    """The graph, trained for two steps: no reward model passes its gate then."""
    graph = build_graph(project.read_inputs())
    return graph | {"reward_model": change(graph["reward_model"], checks=())}


def evaluate(project: Project) -> MaterialisationRecord:
    """Plans and makes everything up to the evaluation; what it spends lies within the price."""
    graph = build_ungated_graph(project)
    [planned] = [item for item in make_plan(project, graph).assets if item.asset == "evaluation"]
    records = {
        name: materialise(project, stage, progress=ignore_progress).record
        for name, stage in graph.items()
        if name != "released_policy"
    }
    record = records["evaluation"]
    for span, name in (
        (planned.price.rows_sampled, "num_sampled"),
        (planned.price.judge_calls, "judge_calls_asked"),
    ):
        assert span.max is not None
        assert span.min <= record.counts[name] <= span.max, (name, planned.price)
    assert planned.price.rows_reused <= record.counts["num_reused"]
    return record


def find_held_out_prompt(project: Project) -> dict[str, Any]:
    """A prompt that falls into the held-out split."""
    settings = project.read_inputs().pipeline
    for name in ("Otto", "Paula", "Rosa", "Sam", "Mia", "Hugo"):
        line = PromptLine(prompt=f"{name} here. How can I learn to swim?")
        result = split_prompts([line], eval_fraction=settings.prompts.eval_fraction, root_seed=settings.seed)
        if result.prompts[0].split == "eval":
            return {"prompt": line.prompt}
    raise LookupError("none of them is held out")


def test_a_new_evaluation_makes_only_the_rows_that_are_new(tmp_path: Path) -> None:
    project = make_tiny(tmp_path / "project")
    inputs = project.root / "inputs"

    def train_briefly(pipeline: dict[str, Any]) -> None:
        pipeline["reward_model"] = {"learning_rate": 1e-3, "max_steps": 2, "batch_size": 4}
        pipeline["policy"] = {
            "method": "dpo",
            "learning_rate": 1e-3,
            "max_steps": 2,
            "checkpoint_steps": 2,
            "checkpoint_prompts": 2,
            "max_new_tokens": 8,
        }
        pipeline["evaluation"] = {"num_samples": 1, "max_new_tokens": 24}

    edit_yaml(inputs / "pipeline.yaml", train_briefly)
    first = evaluate(project)
    rows = read_table(project.root / "data" / "evaluation" / RESPONSES_TABLE)
    num_prompts = len(rows) // 2
    assert first.counts["num_sampled"] == len(rows) == 2 * num_prompts > 0
    assert first.counts["judge_calls_asked"] > 0

    set_field("pipeline.yaml", "evaluation.confidence", 0.9)(inputs)
    again = evaluate(project)
    assert (again.counts["num_sampled"], again.counts["judge_calls_asked"]) == (0, 0)
    assert (again.counts["num_reused"], again.counts["judge_calls_reused"]) == (
        len(rows),
        first.counts["judge_calls_asked"],
    )
    assert read_table(project.root / "data" / "evaluation" / RESPONSES_TABLE) == rows

    policy = project.ledger.find_heads()["aligned_policy"].output.digest
    edit_lines(lambda lines: [*lines, find_held_out_prompt(project)])(inputs)
    wider = evaluate(project)
    assert project.ledger.find_heads()["aligned_policy"].output.digest == policy
    assert (wider.counts["num_sampled"], wider.counts["num_reused"]) == (2, 2 * num_prompts)

    set_field("pipeline.yaml", "evaluation.judge", {"provider": "planted", "noise": 0.2})(inputs)
    set_field("pipeline.yaml", "evaluation.best_of", 2)(inputs)
    judged = evaluate(project)
    assert (judged.counts["num_sampled"], judged.counts["num_reused"]) == (
        2 * (num_prompts + 1),
        2 * (num_prompts + 1),
    )
    assert judged.counts["judge_calls_reused"] == (
        wider.counts["judge_calls_asked"] + wider.counts["judge_calls_reused"]
    )
    metrics = EvaluationMetrics.from_json(
        (project.root / "data" / "evaluation" / "metrics.json").read_bytes()
    )
    assert [found.source for found in metrics.by_source] == ["judge", "independent_judge", "reward_model"]
    assert [gap.reference for gap in metrics.judge_gaps] == ["independent_judge"]
    assert metrics.over_optimisation is not None
    assert metrics.over_optimisation.scorer == "independent_judge"
    assert [point.n for point in metrics.over_optimisation.points] == [1, 2]
    assert metrics.along_training == ()

    set_field("pipeline.yaml", "evaluation.judge_checkpoints", True)(inputs)
    traced = evaluate(project)
    prompts = read_prompts(project.root / "data" / "prompts")
    answers = CheckpointAnswers.read(project.root / "data" / "aligned_policy", prompts)
    assert answers is not None
    assert {row["step"] for row in answers.rows} == {0, 2}
    assert {row["prompt_id"] for row in answers.rows} <= {
        prompt.prompt_id for prompt in prompts if prompt.split == "train"
    }
    num_principles = len(project.read_inputs().constitution.principles)
    assert traced.counts["judge_calls_asked"] == len(answers.list_pairs()) * num_principles * 2 > 0
    assert traced.counts["num_sampled"] == 0
    metrics = EvaluationMetrics.from_json(
        (project.root / "data" / "evaluation" / "metrics.json").read_bytes()
    )
    [curve] = metrics.along_training
    assert (curve.scorer, curve.kept.step) == ("independent_judge", 2)
    training = read_training(project.root / "data" / "aligned_policy")["checkpoints"]
    for point, told in zip(curve.points, training, strict=True):
        assert point.reward.value == pytest.approx(told["mean_reward"])
        assert point.kl.value == pytest.approx(told["kl"])
