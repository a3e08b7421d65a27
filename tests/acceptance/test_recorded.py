"""Feedback that exists already: recorded responses and verdicts, through the same assets."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.tables import read_table
from tests.conftest import REPOSITORY, edit_yaml, run_assets, run_rlaif

REAL = REPOSITORY.parent / "shared" / "real"


def use_recorded(project: Path, **reward_model: Any) -> None:
    def change(pipeline: dict[str, Any]) -> None:
        pipeline["sampling"] = {"provider": "recorded", "responses": "inputs/responses.jsonl"}
        pipeline["evaluation"] = {"ground_truth": None}
        pipeline["reward_model"] = reward_model

    edit_yaml(project / "inputs" / "pipeline.yaml", change)
    (project / "inputs" / "judge.yaml").write_text("provider: recorded\nverdicts: inputs/verdicts.jsonl\n")


@pytest.mark.slow
def test_the_example_becomes_preferences_without_a_model(default_project: Path) -> None:
    shutil.copytree(
        REPOSITORY / "examples" / "recorded" / "inputs", default_project / "inputs", dirs_exist_ok=True
    )
    assets = run_assets("ai_preferences", project=default_project)
    assert set(assets) == {
        "constitution",
        "judge",
        "prompts",
        "sampled_responses",
        "judgements",
        "judge_audit",
        "judge_canary",
        "ai_preferences",
    }
    verdicts = (default_project / "inputs" / "verdicts.jsonl").read_text().splitlines()
    assert assets["judgements"]["rows"] == len(verdicts)
    rows = read_table(default_project / "data" / "ai_preferences" / "preferences.parquet")
    assert rows
    assert all(row["num_verdicts"] == 2 for row in rows)
    again = run_assets("ai_preferences", project=default_project)
    assert {asset["status"] for asset in again.values()} == {"reused"}


@pytest.mark.slow
def test_a_bad_verdict_line_is_named_in_the_persons_own_file(default_project: Path) -> None:
    shutil.copytree(
        REPOSITORY / "examples" / "recorded" / "inputs", default_project / "inputs", dirs_exist_ok=True
    )
    use_recorded(default_project)
    verdicts = default_project / "inputs" / "verdicts.jsonl"
    lines = verdicts.read_text().splitlines()
    lines[4] = '{"response_a": "nobody", "response_b": "no one", "order": "ab", "verdict": "first", '
    lines[4] += '"judge": "example-judge"}'
    verdicts.write_text("\n".join(lines))
    done = run_rlaif("run", "ai_preferences", project=default_project, check=False)
    assert done.returncode == 2
    assert f"{verdicts}, line 5" in done.stderr
    assert "there is no response 'nobody'" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL.is_dir(), reason=f"the real recorded data are not at {REAL.name} beside the repository"
)
def test_mt_bench_through_the_assets(default_project: Path) -> None:
    """80 questions, 31 models' answers, GPT-4's verdicts in both orders: figures as published, then a reward model."""
    convert = REPOSITORY / "examples" / "mtbench" / "convert.py"
    subprocess.run([sys.executable, str(convert), str(REAL), str(default_project)], check=True)
    use_recorded(default_project, max_length=128, max_steps=4, batch_size=8)
    expected = json.loads((REAL / "EXPECTED.json").read_text())["mtbench_gpt-4-0613"]
    measured = expected["measured_not_published"]
    run_assets("ai_preferences", project=default_project)
    summary = json.loads((default_project / "data" / "ai_preferences" / "summary.json").read_text())
    assert summary["num_pairs"] == measured["pairs"]
    assert summary["num_consistent"] == measured["consistent"]
    assert summary["num_first_first"] == measured["first_first"]
    assert summary["num_second_second"] == measured["second_second"]
    assert summary["num_tie_mixed"] == measured["tie_mixed"]
    assert 2 * summary["num_consistent"] == expected["published"]["consistent"]
    # Four steps teach nothing: the gate says so, and both accuracies are there to read.
    done = run_rlaif("run", "reward_model", project=default_project, check=False)
    assert "reward model: held-out accuracy" in done.stdout
    assert "baseline: the longer answer wins" in done.stdout
    training = json.loads((default_project / "data" / "reward_model" / "training.json").read_text())
    assert training["metrics"]["accuracy"]["n"] == training["metrics"]["longer_wins_accuracy"]["n"] > 100
