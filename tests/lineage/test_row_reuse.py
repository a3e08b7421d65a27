"""Rows of every earlier version count: only what was never sampled or asked before is sampled or asked."""

import json
import shutil
from pathlib import Path

import pytest

from rlaif_dagster.graph.judging import read_answers
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.lineage.plan import PlannedAsset, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import find_journal, make_recipe
from tests.conftest import run_rlaif
from tests.lineage.changes import CHANGES, edit_lines, edit_principles, edit_text, set_field
from tests.lineage.tiny_project import bring_up_to_date, build_tiny_graph

pytestmark = pytest.mark.slow


def copy(base: Path, folder: Path) -> Project:
    shutil.copytree(base, folder)
    return Project.open(folder)


@pytest.fixture
def project(tiny_base: Path, tmp_path: Path) -> Project:
    return copy(tiny_base, tmp_path / "project")


def plan(project: Project) -> dict[str, PlannedAsset]:
    return {item.asset: item for item in make_plan(project, build_tiny_graph(project)).assets}


def test_going_back_and_half_way_back_asks_nothing(project: Project) -> None:
    inputs = project.root / "inputs"
    CHANGES["one principle reworded"](inputs)
    bring_up_to_date(project, ["judgements"])
    edit_text("constitution.yaml", "Be kind and polite.", "Be polite to the user.")(inputs)
    assert {item.status for item in plan(project).values()} == {"reused", "fresh"}
    bring_up_to_date(project, ["judgements"])
    edit_principles(lambda principles: principles.append({"id": "kind", "text": "Be kind and polite."}))(
        inputs
    )
    price = plan(project)["judgements"].price
    assert (price.judge_calls.min, price.judge_calls.max, price.judge_calls_reused) == (0, 0, 144)
    outcome = bring_up_to_date(project, ["judgements"])["judgements"]
    assert outcome.status == "computed"
    assert outcome.record.counts["judge_calls_asked"] == 0
    assert outcome.record.counts["judge_calls_reused"] == 144


def test_fewer_responses_and_more_again_sample_nothing_twice(project: Project) -> None:
    for num_samples, sampled in ((2, 0), (4, 6)):
        set_field("pipeline.yaml", "sampling.num_samples", num_samples)(project.root / "inputs")
        assert plan(project)["sampled_responses"].price.rows_sampled.max == sampled
        counts = bring_up_to_date(project, ["sampled_responses"])["sampled_responses"].record.counts
        assert counts == {"num_sampled": sampled, "num_reused": 6 * num_samples - sampled}


def test_answers_that_a_killed_run_left_are_not_priced_again(
    project: Project, tiny_base: Path, tmp_path: Path
) -> None:
    """The journal of another copy, which made the whole change, stands for that of a run that was killed."""
    other = copy(tiny_base, tmp_path / "other")
    for each in (project, other):
        CHANGES["one principle reworded"](each.root / "inputs")
    before = {answer.call_id for answer in read_answers(project.root / "data" / "judgements")}
    bring_up_to_date(other, ["judgements"])
    answers = [a for a in read_answers(other.root / "data" / "judgements") if a.call_id not in before]
    assert len(answers) == 36
    stage = build_tiny_graph(project)["judgements"]
    with open_journal(find_journal(project, make_recipe(stage, {})), "killed") as journal:
        journal.want(answer.call_id for answer in answers[:10])
        journal.settle(answers[:10])
    price = plan(project)["judgements"].price
    assert (price.judge_calls.min, price.judge_calls_reused) == (26, 82)
    counts = bring_up_to_date(project, ["judgements"])["judgements"].record.counts
    assert (counts["judge_calls_asked"], counts["judge_calls_reused"]) == (26, 82)


def test_tokens_are_told_by_what_the_same_judge_used(project: Project) -> None:
    used = project.ledger.find_heads()["judgements"].counts
    CHANGES["one principle reworded"](project.root / "inputs")
    tokens = plan(project)["judgements"].price.tokens
    assert tokens is not None
    assert tokens.min == tokens.max == pytest.approx(36 * used["judge_input_tokens"] / 108)
    set_field("judge.yaml", "max_length", 200)(project.root / "inputs")
    assert plan(project)["judgements"].price.tokens is None


def test_the_command_tells_the_plan_without_loading_a_heavy_library(project: Project) -> None:
    CHANGES["one principle reworded"](project.root / "inputs")
    edit_lines(lambda lines: [*lines[1:], {"prompt": "Otto here. How can I learn to swim?"}])(
        project.root / "inputs"
    )
    done = run_rlaif("plan", "ai_preferences", "--json", project=project.root, import_times=True)
    told = json.loads(done.stdout.splitlines()[-1])
    by_asset = {item["asset"]: item for item in told["stale"]}
    feedback = ["sampled_responses", "judgements", "judge_audit", "judge_canary", "ai_preferences"]
    assert list(by_asset) == ["constitution", "prompts", *feedback]
    assert told["fresh"] == ["judge", "base_policy"]
    assert [(cause["path"], cause["old"], cause["new"]) for cause in by_asset["judgements"]["causes"]] == [
        (
            "inputs/prompts.jsonl: added",
            None,
            {"count": 1, "first": ["Otto here. How can I learn to swim?"]},
        ),
        (
            "inputs/prompts.jsonl: removed",
            {"count": 1, "first": ["Hi, I am Hugo. How can I fix a flat tyre?"]},
            None,
        ),
        (
            "inputs/constitution.yaml: principles[polite].text",
            "Be polite to the user.",
            "Be kind and polite.",
        ),
    ]
    assert by_asset["sampled_responses"]["rows_sampled"] == {"min": 3, "max": 3, "reused": 15}
    assert by_asset["judgements"]["judge_calls"] == {"min": 30, "max": 48, "reused": 60}
    calls = [by_asset[name]["judge_calls"] for name in ("judgements", "judge_audit", "judge_canary")]
    assert told["total"]["judge_calls"] == {name: sum(each[name] for each in calls) for name in calls[0]}
    loaded = {
        line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")
    }
    assert "rlaif_dagster.lineage.plan" in loaded
    assert not loaded & {"torch", "transformers", "trl", "dagster", "matplotlib"}


def test_the_terminal_shows_the_cone_and_the_words_that_changed(project: Project) -> None:
    assert "Everything is fresh" in run_rlaif("plan", "ai_preferences", project=project.root).stdout
    CHANGES["one principle reworded"](project.root / "inputs")
    shown = run_rlaif("plan", "ai_preferences", project=project.root).stdout
    assert "- Be polite to the user." in shown
    assert "+ Be kind and polite." in shown
    assert "0 rows to sample, 36 to " in shown
