"""Answers that were cut at `max_new_tokens`, through the stages: who learns of them, and where people are warned."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.evaluation.evaluate import read_comparisons
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.checks import FEW_ANSWERS_CUT
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, RecordedCheck
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import COMPARISONS_TABLE, METRICS_JSON, REPORT_HTML
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.tables import Row, read_table
from tests.conftest import edit_yaml
from tests.graph.planted_project import make_planted, run_to, write_judge, write_lines
from tests.plain_stages import change

FEW = 10
"""Most new tokens: some answers of the embedded policy end before, most do not."""


def find_warning(record: MaterialisationRecord) -> RecordedCheck:
    (check,) = [check for check in record.checks if check.name == FEW_ANSWERS_CUT]
    assert not check.blocking
    return check


def read_pairs(project: Path) -> list[Row]:
    return read_table(project / "data" / "ai_preferences" / "preferences.parquet")


@pytest.mark.slow
def test_a_pair_says_how_its_sampled_answers_ended(default_project: Path) -> None:
    def sample_few(pipeline: dict[str, Any]) -> None:
        pipeline["sampling"] = {"provider": "local", "num_samples": 3, "max_new_tokens": FEW}

    inputs = default_project / "inputs"
    edit_yaml(inputs / "pipeline.yaml", sample_few)
    lines = (inputs / "prompts.jsonl").read_text().splitlines(keepends=True)
    (inputs / "prompts.jsonl").write_text("".join(lines[:12]))
    write_judge(default_project)
    heads = run_to(default_project, "ai_preferences")
    rows = read_table(default_project / "data" / "sampled_responses" / "responses.parquet")
    ended = {row["response_id"]: row["finish_reason"] for row in rows}
    assert set(ended.values()) == {"stop", "length"}
    share = list(ended.values()).count("length") / len(ended)
    pairs = read_pairs(default_project)
    for side in "ab":
        assert [row[f"finish_reason_{side}"] for row in pairs] == [
            ended[row[f"response_{side}"]] for row in pairs
        ]
    num_cut = sum("length" in (row["finish_reason_a"], row["finish_reason_b"]) for row in pairs)
    assert heads["ai_preferences"].counts["num_with_cut_answer"] == num_cut > 0
    assert heads["sampled_responses"].metrics["share_cut"] == share
    warning = find_warning(heads["sampled_responses"])
    assert not warning.passed
    assert warning.facts["share_cut"] == share
    assert warning.facts["why"] == (
        f"{share:.0%} of the answers were cut at sampling.max_new_tokens, before the policy ended its turn; "
        "raise sampling.max_new_tokens in inputs/pipeline.yaml, or use a policy that ends its answers"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "share"), [((), None), (("stop",), 0.0), (("length", "stop", "stop", "stop"), 0.25)]
)
def test_a_pair_says_how_recorded_answers_ended_where_their_file_does(
    ends: tuple[str, ...], share: float | None, default_project: Path
) -> None:
    make_planted(default_project)
    file = default_project / "inputs" / "responses.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for place, line in enumerate(lines):
        if ends:
            line["finish_reason"] = ends[place % len(ends)]
    write_lines(file, lines)
    told = {line["text"]: line.get("finish_reason") for line in lines}
    heads = run_to(default_project, "ai_preferences")
    for row in read_pairs(default_project):
        assert (row["finish_reason_a"], row["finish_reason_b"]) == (told[row["text_a"]], told[row["text_b"]])
    assert heads["sampled_responses"].metrics["share_cut"] == share
    warning = find_warning(heads["sampled_responses"])
    assert warning.passed is (not share)
    assert warning.passed or "cut at max_new_tokens" in str(warning.facts["why"])


@pytest.mark.slow
def test_an_evaluation_says_what_share_was_cut(default_project: Path) -> None:
    """And the trainings before it take what the rows say of their answers."""

    def train_briefly(pipeline: dict[str, Any]) -> None:
        training = {"learning_rate": 1e-3, "max_steps": 2, "batch_size": 4}
        pipeline["sampling"] = {"provider": "local", "num_samples": 3, "max_new_tokens": FEW}
        pipeline["reward_model"] = training
        pipeline["policy"] = {**training, "method": "dpo", "checkpoint_steps": 2, "checkpoint_prompts": 2}
        pipeline["policy"]["max_new_tokens"] = FEW
        pipeline["evaluation"] = {"num_samples": 2, "max_new_tokens": FEW, "best_of": 2}

    inputs = default_project / "inputs"
    edit_yaml(inputs / "pipeline.yaml", train_briefly)
    lines = (inputs / "prompts.jsonl").read_text().splitlines(keepends=True)
    (inputs / "prompts.jsonl").write_text("".join(lines[:24]))
    write_judge(default_project)
    project = Project.open(default_project)
    graph = build_graph(project.read_inputs())
    graph |= {"reward_model": change(graph["reward_model"], checks=())}
    heads = {
        name: materialise(project, stage, progress=ignore_progress).record
        for name, stage in graph.items()
        if name != "released_policy"
    }
    folder = default_project / "data" / "evaluation"
    comparisons = read_comparisons(folder / COMPARISONS_TABLE)
    ended = {
        (row["source"], row["prompt_id"], row["index"]): row["finish_reason"]
        for row in read_table(folder / "responses.parquet")
    }
    metrics = EvaluationMetrics.from_json((folder / METRICS_JSON).read_bytes())
    for policy, asset in (("base", "base_policy"), ("aligned", "aligned_policy")):
        source = heads[asset].output.digest
        found = [getattr(row, f"{policy}_finish_reason") for row in comparisons]
        assert found == [ended[source, row.prompt_id, row.index] for row in comparisons]
        share = getattr(metrics, f"{policy}_cut")
        assert share.value == found.count("length") / len(found) > 0.05
        report = (folder / REPORT_HTML).read_text()
        assert (
            f"{100 * share.value:.0f} % of the {policy} policy&#39;s answers were cut at evaluation.max_new_tokens"
            in report
        )
    warning = find_warning(heads["evaluation"])
    assert not warning.passed
    assert "raise evaluation.max_new_tokens" in str(warning.facts["why"])
    checkpoints = read_table(default_project / "data" / "aligned_policy" / "checkpoints.parquet")
    assert {row["finish_reason"] for row in checkpoints} <= {"stop", "length"}
