"""The canary: a judge under the same name that answers otherwise is found, and stops what is built on it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rlaif_dagster.errors import GateError
from rlaif_dagster.graph.judge_canary import choose_canaries, compare_verdicts
from rlaif_dagster.graph.judging import read_bare_verdicts, write_judgements
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import CANARY_JSON, JUDGE_CANARY
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.tables import read_table
from tests.conftest import edit_yaml, run_rlaif
from tests.graph.planted_project import make_context, make_planted, run_to, turn_judge


def test_the_set_is_frozen_by_content(default_project: Path) -> None:
    """Whatever the order of the rows; and all of it is asked again, though every answer is known."""
    make_planted(default_project)
    heads = run_to(default_project, JUDGE_CANARY)
    verdicts = list(read_bare_verdicts(default_project / "data" / "judgements"))
    smallest = sorted(verdict.verdict_id for verdict in verdicts)[:32]
    assert sorted(choose_canaries(verdicts, 32)) == smallest
    assert sorted(choose_canaries(reversed(verdicts), 32)) == smallest
    asked = read_table(default_project / "data" / JUDGE_CANARY / "judgements.parquet")
    assert sorted(row["verdict_id"] for row in asked) == smallest
    assert heads[JUDGE_CANARY].counts["judge_calls_asked"] == 32
    assert heads[JUDGE_CANARY].counts["judge_calls_reused"] == 0
    assert heads[JUDGE_CANARY].metrics["changed"]["planted"]["value"] == 0.0


def test_a_judge_that_says_other_than_then_fails_and_names_what_it_judged(
    default_project: Path, tmp_path: Path
) -> None:
    """Eight of the 32 verdicts stand otherwise in judgements: 25 % against 10 %."""
    make_planted(default_project)
    run_to(default_project, JUDGE_CANARY)
    stage = Project.open(default_project).build_graph()[JUDGE_CANARY]
    context = make_context(default_project, JUDGE_CANARY, tmp_path / "work")
    table = context.inputs["judgements"] / "judgements.parquet"
    rows = read_table(table)
    turned = sorted(row["verdict_id"] for row in rows)[:8]
    for row in rows:
        if row["verdict_id"] in turned:
            row["verdict"] = {"first": "second", "second": "first"}[row["verdict"]]
    table.unlink()
    write_judgements(context.inputs["judgements"], map(Verdict.from_row, rows))
    stage.compute(context)
    found = json.loads((context.output / CANARY_JSON).read_text())["judges"]["planted"]
    assert found["changed"]["value"] == 8 / 32
    assert found["mean_shift"] == 8 / 32
    (check,) = stage.governance.checks
    result = check.run(context.output, context.inputs)
    assert not result.passed
    assert result.facts["judged_by_another"] == str(context.digests["judgements"])


def test_asking_again_makes_a_new_record_which_is_the_one_reused(default_project: Path) -> None:
    make_planted(default_project)
    first = run_to(default_project, "ai_preferences")
    project = Project.open(default_project)
    stage = project.build_graph()[JUDGE_CANARY]
    again = materialise(project, stage, progress=ignore_progress, again=True)
    assert again.status == "computed"
    assert again.record.recipe == first[JUDGE_CANARY].recipe
    assert again.record.record_id != first[JUDGE_CANARY].record_id
    assert again.record.output.digest == first[JUDGE_CANARY].output.digest
    after = run_to(default_project, "ai_preferences")
    assert after[JUDGE_CANARY].record_id == again.record.record_id
    assert after["ai_preferences"].record_id == first["ai_preferences"].record_id


@pytest.mark.slow
def test_nothing_is_built_after_a_failed_canary_until_the_judge_is_found_the_same(
    default_project: Path, tmp_path: Path
) -> None:
    """The drift is in the material: the stage sees judgements of which it would say otherwise today."""
    make_planted(default_project)
    run_to(default_project, "ai_preferences")
    project = Project.open(default_project)
    stage = project.build_graph()[JUDGE_CANARY]
    failed = materialise(project, turn_judge(stage, tmp_path), progress=ignore_progress, again=True).record
    assert failed.failed_gates == ("same_judge",)
    assert failed.metrics["changed"]["planted"]["value"] == 1.0
    for _ in range(2):  # the newest result of the recipe is reused: a second run does not forget the alarm
        with pytest.raises(GateError, match="same_judge"):
            run_to(default_project, "ai_preferences")
    materialise(project, stage, progress=ignore_progress, again=True)
    assert run_to(default_project, "ai_preferences")[JUDGE_CANARY].failed_gates == ()


def test_a_judge_that_no_longer_answers_cannot_be_told_to_be_the_same(
    default_project: Path, tmp_path: Path
) -> None:
    make_planted(default_project)
    run_to(default_project, "judgements")
    before = choose_canaries(read_bare_verdicts(default_project / "data" / "judgements"), 4)
    now = [replace(verdict, verdict=None, p_first=None, status="failed") for verdict in before.values()]
    found = compare_verdicts(before, now)
    assert found["planted"]["changed"]["value"] is None
    assert found["planted"]["num_without_verdict"] == 4
    (tmp_path / CANARY_JSON).write_text(json.dumps({"judgements": "sha256:0", "judges": found}))
    (check,) = Project.open(default_project).build_graph()[JUDGE_CANARY].governance.checks
    result = check.run(tmp_path, {})
    assert not result.passed
    assert "gave no verdict this time" in str(result.facts["not_measured"])


class FickleServer(BaseHTTPRequestHandler):
    """A chat completions server that prefers the longer answer of a `compact` prompt; when `turned`, the shorter."""

    turned = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        lines = asked["messages"][-1]["content"].splitlines()
        first, second = (next(len(line) for line in lines if line.startswith(mark)) for mark in ("A:", "B:"))
        says = "A" if (first >= second) != FickleServer.turned else "B"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": says}}
        body = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [choice],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def fickle_url() -> Iterator[str]:
    FickleServer.turned = False
    with ThreadingHTTPServer(("127.0.0.1", 0), FickleServer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_served_model_that_is_changed_behind_its_name_is_found(
    default_project: Path, fickle_url: str
) -> None:
    """All verdicts turn; a new revision is a new judge, and everything goes on from its verdicts."""
    make_planted(default_project)
    pipeline = default_project / "inputs" / "pipeline.yaml"
    edit_yaml(pipeline, lambda value: value.update(pairing={"max_pairs_per_prompt": 1}))
    judge = {
        "provider": "openai",
        "model": "some-model",
        "base_url": fickle_url,
        "api_key_env": None,
        "template": "compact",
        "limits": {"concurrency": 8},
    }
    (default_project / "inputs" / "judge.yaml").write_text(json.dumps(judge))
    before = run_to(default_project, "ai_preferences")
    assert before[JUDGE_CANARY].metrics["changed"]["some-model"]["value"] == 0.0
    FickleServer.turned = True
    project = Project.open(default_project)
    stage = project.build_graph()[JUDGE_CANARY]
    record = materialise(project, stage, progress=ignore_progress, again=True).record
    assert record.failed_gates == ("same_judge",)
    assert record.metrics["changed"]["some-model"]["value"] == 1.0
    (check,) = record.checks
    assert check.facts["judged_by_another"] == before["judgements"].output.digest
    with pytest.raises(GateError, match="same_judge"):
        run_to(default_project, "ai_preferences")
    (default_project / "inputs" / "judge.yaml").write_text(json.dumps({**judge, "revision": "2"}))
    after = run_to(default_project, "ai_preferences")
    assert after["judgements"].counts["judge_calls_reused"] == 0
    assert after[JUDGE_CANARY].failed_gates == ()


@pytest.mark.slow
def test_the_command_asks_again_through_dagster(default_project: Path) -> None:
    make_planted(default_project)
    done = run_rlaif("canary", project=default_project, check=False)
    assert done.returncode == 2
    assert "has never been materialised" in done.stderr
    run_to(default_project, JUDGE_CANARY)
    before = len(Project.open(default_project).ledger.records())
    done = run_rlaif("canary", "--json", project=default_project)
    assert json.loads(done.stdout.splitlines()[-1])["judges"]["planted"]["changed"]["value"] == 0.0
    assert len(Project.open(default_project).ledger.records()) == before + 1
