"""Critique, revision and fine-tuning as assets, with a critic behind a real server and the embedded policy."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import BudgetError
from rlaif_dagster.generation.journal import look_into_responses
from rlaif_dagster.graph.price import Range
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import find_journal
from rlaif_dagster.tables import read_table
from tests.conftest import REPOSITORY, edit_yaml
from tests.graph.planted_project import run_to

pytestmark = pytest.mark.slow


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "requests.log"


@pytest.fixture
def project(default_project: Path, log: Path) -> Iterator[Path]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.revising.writer_server", str(log)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"

    def change(pipeline: dict[str, Any]) -> None:
        critic = {
            "provider": "openai",
            "model": "m",
            "base_url": url,
            "api_key_env": None,
            "verdict": "text",
            "price": {"input_per_million": 1, "output_per_million": 10},
        }
        pipeline["sampling"] = {"provider": "local", "num_samples": 2, "max_new_tokens": 24}
        pipeline["revision"] = {
            "critic": critic,
            "num_samples": 2,
            "rounds": 2,
            "training": {"learning_rate": 3.0e-4, "max_steps": 2, "batch_size": 8},
        }

    edit_yaml(default_project / "inputs" / "pipeline.yaml", change)
    prompts = default_project / "inputs" / "prompts.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:12]))
    try:
        yield default_project
    finally:
        server.kill()
        server.communicate()


def read_requests(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def set_budget(project: Path, calls: int | None) -> None:
    def change(pipeline: dict[str, Any]) -> None:
        pipeline["revision"]["critic"]["limits"] = {"concurrency": 2, "budget": {"calls": calls}}

    edit_yaml(project / "inputs" / "pipeline.yaml", change)


def test_answers_are_revised_learned_from_and_sampled(project: Path, log: Path) -> None:
    """Two rounds are two critiques and two revisions of each answer; another principle asks only for those it drew."""
    heads = run_to(project, "supervised_policy")
    rows = read_table(project / "data" / "revised_responses" / "revisions.parquet")
    record = heads["revised_responses"]
    num_answers = len({row["response_id"] for row in rows})
    num_train = heads["prompts"].counts["num_train"]
    assert (num_answers, len(rows)) == (2 * num_train, 4 * num_train)
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert row["revised"] == " ".join(row["answer"].split()[:6])
        assert row["critique"].startswith("Too long under: ")
    asked = read_requests(log)
    assert record.counts["judge_calls_asked"] == len(asked) == len(set(asked))
    assert record.metrics["judge_cost_USD"] == pytest.approx(len(asked) * (90 * 1 + 10 * 10) / 1e6)
    assert heads["supervised_policy"].counts["num_train_answers"] == num_answers
    assert heads["supervised_policy"].output.digest != heads["base_policy"].output.digest
    graph = Project.open(project).build_graph()
    assert "supervised_policy" in graph["sampled_responses"].inputs
    assert "supervised_policy" in graph["aligned_policy"].inputs

    def reword(constitution: dict[str, Any]) -> None:
        constitution["principles"][0]["text"] = "Keep the answer very short indeed."

    edit_yaml(project / "inputs" / "constitution.yaml", reword)
    opened = Project.open(project)
    [planned] = [item for item in make_plan(opened, graph).assets if item.asset == "revised_responses"]
    again = run_to(project, "revised_responses")["revised_responses"]
    for counts in (record.counts, again.counts):
        assert counts["num_sampled"] + counts["num_reused"] == num_answers
    assert (record.counts["num_sampled"], again.counts["num_sampled"]) == (num_answers, 0)
    assert planned.price.rows_sampled == Range(min=0, max=0)
    assert not look_into_responses(find_journal(opened, again.recipe_parts))  # they stand in a version
    new = read_requests(log)[len(asked) :]
    assert again.counts["judge_calls_asked"] == len(new) < len(asked)
    assert all("Keep the answer very short indeed." in line for line in new)
    assert again.counts["judge_calls_reused"] > 0


def test_one_budget_counts_for_all_rounds_and_nothing_is_paid_twice(project: Path, log: Path) -> None:
    set_budget(project, 5)
    runs = 0
    while True:
        before = len(read_requests(log))
        try:
            run_to(project, "revised_responses")
        except BudgetError:
            assert len(read_requests(log)) - before <= 5
            runs += 1
            assert runs < 40
        else:
            break
    asked = read_requests(log)
    assert runs == (len(asked) - 1) // 5
    assert len(asked) == len(set(asked))
