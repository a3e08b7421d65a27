"""The embedded default, from the constitution to an aligned policy, as a new user runs it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.tables import read_table
from tests.conftest import edit_yaml, run_assets, run_rlaif
from tests.upgrade.rows import GOLDEN, describe_run, find_differences

pytestmark = pytest.mark.slow

ASSETS = [
    "constitution",
    "judge",
    "prompts",
    "base_policy",
    "sampled_responses",
    "judgements",
    "judge_audit",
    "judge_canary",
    "ai_preferences",
    "reward_model",
    "aligned_policy",
    "evaluation",
    "released_policy",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("default") / "project"
    init_command(folder)
    first = run_assets(project=folder, cold=True)
    assert {name: asset["status"] for name, asset in first.items()} == dict.fromkeys(ASSETS, "computed")
    for asset in first.values():
        for name, spent in asset["actual"].items():
            assert asset["planned"][name]["min"] <= spent <= asset["planned"][name]["max"], asset
    return folder


@pytest.fixture(scope="module")
def metrics(project: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((project / "data" / "evaluation" / "metrics.json").read_bytes())
    return result


def read_digests(project: Path) -> dict[str, str]:
    return {name: head.output.digest for name, head in Project.open(project).ledger.find_heads().items()}


def test_the_aligned_policy_wins_by_the_ground_truth_on_held_out_prompts(metrics: dict[str, Any]) -> None:
    win_rate = metrics["win_rate_ground_truth"]
    assert win_rate["value"] >= 0.70
    assert win_rate["low"] > 0.55


def test_the_reward_model_orders_held_out_pairs(metrics: dict[str, Any]) -> None:
    assert metrics["reward_model_accuracy"]["value"] >= 0.80


def test_weights_and_rows_are_those_of_0_1_0(project: Path) -> None:
    """Cards, reports and names may be others; which rows may, and why, stands in `tests.upgrade.rows`."""
    before = json.loads(GOLDEN.read_text())
    now = describe_run(project)
    if now["processor"] != before["processor"]:
        pytest.skip(f"the digests are of {before['processor']}, and this processor is {now['processor']}")
    assert find_differences(now, before) == []


def test_the_text_stays_clean(metrics: dict[str, Any]) -> None:
    assert metrics["base_clean"]["value"] >= 0.97
    assert metrics["aligned_clean"]["value"] >= 0.97


def test_every_check_passed(project: Path) -> None:
    heads = Project.open(project).ledger.find_heads()
    failed = [(name, check.name) for name, head in heads.items() for check in head.checks if not check.passed]
    assert failed == []


def test_models_open_with_from_pretrained(project: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    for asset in ("base_policy", "aligned_policy"):
        folder = project / "data" / asset
        assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
        assert len(AutoTokenizer.from_pretrained(folder)) > 0
    reward_model = AutoModelForSequenceClassification.from_pretrained(project / "data" / "reward_model")
    assert reward_model.config.num_labels == 1


def test_no_prompt_leaks_from_eval_into_training(project: Path) -> None:
    prompts = {
        row["prompt_id"]: row["split"] for row in read_table(project / "data" / "prompts" / "prompts.parquet")
    }
    compared = {
        row["prompt_id"] for row in read_table(project / "data" / "evaluation" / "comparisons.parquet")
    }
    assert compared == {prompt_id for prompt_id, split in prompts.items() if split == "eval"}


def test_dvc_agrees_that_data_is_what_is_pinned(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {}


def test_a_second_run_reuses_everything(project: Path) -> None:
    before = read_digests(project)
    again = run_assets(project=project)
    assert {name: asset["status"] for name, asset in again.items()} == dict.fromkeys(ASSETS, "reused")
    assert {name: asset["digest"] for name, asset in again.items()} == before


def test_comments_and_formatting_rebuild_nothing(project: Path) -> None:
    for name in ("constitution", "judge", "pipeline"):
        file = project / "inputs" / f"{name}.yaml"
        edit_yaml(file, lambda _: None)  # written again: no comments, other quotes and indentation
    again = run_assets(project=project)
    assert {asset["status"] for asset in again.values()} == {"reused"}


def test_status_says_fresh_and_chat_answers(project: Path) -> None:
    done = run_rlaif("status", "--json", project=project)
    states = json.loads(done.stdout.splitlines()[-1])["assets"]
    assert {state["state"] for state in states.values()} == {"fresh"}
    chat = run_rlaif("chat", "Hi, I am Paula. Tell me how to make tea.", project=project)
    assert "base" in chat.stdout
    assert "aligned" in chat.stdout


@pytest.fixture(scope="module")
def swapped(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy with `thorough` in the place of `concise`, brought up to date; and what became of each asset."""
    folder = tmp_path_factory.mktemp("swapped") / "project"
    shutil.copytree(project, folder, symlinks=True)

    def swap(constitution: dict[str, Any]) -> None:
        [concise] = [p for p in constitution["principles"] if p["id"] == "concise"]
        concise.update(id="thorough", text="Add useful details to the answer.")

    edit_yaml(folder / "inputs" / "constitution.yaml", swap)
    return folder, {name: asset["status"] for name, asset in run_assets(project=folder).items()}


def test_swapping_concise_for_thorough_rebuilds_what_depends_on_it(
    swapped: tuple[Path, dict[str, str]], metrics: dict[str, Any]
) -> None:
    """Prompts and responses stay; of the verdicts only those under the new principle are asked; answers grow."""
    root, statuses = swapped
    kept = {"judge", "prompts", "base_policy", "sampled_responses"}
    assert statuses == {name: "reused" if name in kept else "computed" for name in ASSETS}
    judgements = Project.open(root).ledger.find_heads()["judgements"]
    num_principles = len(
        json.loads((root / "data" / "constitution" / "constitution.json").read_text())["principles"]
    )
    assert judgements.counts["judge_calls_asked"] * num_principles == judgements.rows
    after = json.loads((root / "data" / "evaluation" / "metrics.json").read_bytes())
    assert after["aligned_tokens"]["value"] > metrics["aligned_tokens"]["value"]


def test_the_diff_tells_what_a_principle_did_to_two_trained_policies(
    project: Path, swapped: tuple[Path, dict[str, str]], metrics: dict[str, Any]
) -> None:
    """Reward models and policies are really trained, each on its own labels."""
    root, _ = swapped
    before = f"aligned_policy@{read_digests(project)['aligned_policy']}"
    page = root / "diff.html"
    done = run_rlaif("diff", before, "aligned_policy", "--json", "--html", str(page), project=root)
    assert "principle thorough added, weight 1: {+Add useful details" in done.stderr
    diff = json.loads(done.stdout.splitlines()[-1])
    assert (diff["absent"], diff["judge"], diff["settings"]) == ([], [], [])
    changes = {"concise": "removed", "thorough": "added"}
    assert {one["principle_id"]: one["change"] for one in diff["constitution"]} == changes
    assert list(diff["verdicts"]["asked_anew"]) == ["thorough"]
    assert diff["preferences"]["num_flipped"] > 0
    assert diff["rewards"]["source"] == "evaluations"
    assert abs(diff["rewards"]["spearman"]) < 1
    outcomes = diff["outcomes"]
    assert outcomes["num_same_answer"] < outcomes["num_common"] == outcomes["num_before"]
    rates = {rate["source"]: rate for rate in outcomes["win_rates"]}
    assert set(rates) == {"judge", "ground_truth", "reward_model"}
    assert rates["ground_truth"]["before"] == pytest.approx(
        metrics["win_rate_ground_truth"]["value"], abs=0.05
    )
    assert all(sample["before"] != sample["after"] for sample in outcomes["samples"])
    for chain, name in zip(diff["chains"], changes, strict=True):
        assert chain["cause"] == f"principle {name} {changes[name]}"
        assert chain["effects"][-1] == f"win rate by the judge {rates['judge']['shift']['value']:+.3f}"
    assert "principle thorough added" in page.read_text()
