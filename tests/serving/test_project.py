"""A project whose judge is served: through kills, faults and a server that quotes the key, nothing is lost or told."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.tables import read_table
from tests.conftest import edit_yaml
from tests.serving.fault_server import FAULTS, RunningServer, name_model, run_server

pytestmark = pytest.mark.slow

KEY = "sk-canary-5f0c2a9e71"
CONCURRENCY = 8
NUM_PROMPTS = 30
JUDGE = """\
provider: openai
model: {model}
template: compact
api_key_env: JUDGE_KEY
max_tokens: 8
limits: {limits}
price: {{input_per_million: 2, output_per_million: 8}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Recorded responses to 30 prompts, of different lengths, and a judge at the server that the environment names."""
    root = tmp_path / "project"
    init_command(root)
    asks = [f"How do I do task {place}?" for place in range(NUM_PROMPTS)]
    responses = [
        {"prompt": ask, "source": f"s{length}", "text": f"{ask[:-1]}: so" + " and then" * length}
        for ask in asks
        for length in range(4)
    ]
    write_lines(root / "inputs" / "prompts.jsonl", [{"prompt": ask} for ask in asks])
    write_lines(root / "inputs" / "responses.jsonl", responses)
    (root / "inputs" / "constitution.yaml").write_text(
        "principles: [{id: long, text: The longer the better.}]\n"
    )
    sampling = {"provider": "recorded", "responses": "inputs/responses.jsonl"}
    edit_yaml(root / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(sampling=sampling))
    return root


def write_lines(path: Path, values: list[Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def write_judge(project: Path, model: str = "m") -> None:
    limits = {"concurrency": CONCURRENCY, "timeout_seconds": 1.0}
    text = JUDGE.format(model=json.dumps(model), limits=json.dumps(limits))
    (project / "inputs" / "judge.yaml").write_text(text)


@contextmanager
def start(project: Path, server: RunningServer) -> Iterator[subprocess.Popen[bytes]]:
    """Starts `rlaif run judgements`, which prints into a file."""
    arguments = ["-m", "rlaif_dagster.cli.main", "run", "judgements", "--project"]
    with (project.parent / "printed").open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, *arguments, str(project)],
            env={**os.environ, "OPENAI_BASE_URL": server.url, "JUDGE_KEY": KEY},
            stdout=printed,
            stderr=printed,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(project: Path, server: RunningServer) -> tuple[int, str]:
    """Runs it to its end; returns the exit code and all that it printed."""
    with start(project, server) as process:
        code = process.wait()
    return code, (project.parent / "printed").read_text()


def read_rows(project: Path) -> list[dict[str, Any]]:
    return read_table(project / "data" / "judgements" / "judgements.parquet")


def find_wrong(project: Path) -> list[dict[str, Any]]:
    """Rows whose verdict is not the longer answer, which is the server's judge's truth."""
    texts = {
        row["response_id"]: row["text"]
        for row in read_table(project / "data" / "sampled_responses" / "responses.parquet")
    }

    def longer(row: dict[str, Any]) -> str:
        a, b = len(texts[row["response_a"]]), len(texts[row["response_b"]])
        return "first" if (a > b) == (row["order"] == "ab") else "second"

    return [row for row in read_rows(project) if row["status"] == "ok" and row["verdict"] != longer(row)]


def find_key(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and KEY[3:].encode() in path.read_bytes()]


def test_killed_and_interrupted_the_table_is_byte_for_byte_that_of_a_run_without_a_kill(
    project: Path, tmp_path: Path, whole: bool
) -> None:
    """And what was answered is not asked again, but for the calls that were under way at a kill."""
    faults = {name: share for name, share in FAULTS.items() if name != "malformed"}
    usual = name_model("usual", latency=0.1, **faults)
    write_judge(project)
    table = project / "data" / "judgements" / "judgements.parquet"
    with run_server(tmp_path / "unkilled.log", usual) as server:
        code, printed = run(project, server)
        assert code == 0, printed
        num_calls = server.count_served()["ok"]
    expected = table.read_bytes()
    assert {row["status"] for row in read_rows(project)} == {"ok"}
    assert find_wrong(project) == []

    fresh = tmp_path / "killed"
    init_command(fresh)
    for file in (project / "inputs").iterdir():
        (fresh / "inputs" / file.name).write_bytes(file.read_bytes())
    num_kills = 5 if whole else 1
    chance = random.Random(5)  # noqa: S311 - a choice of moments
    stops = sorted(chance.sample(range(10, num_calls * 4 // 5), num_kills + 1))
    with run_server(tmp_path / "killed.log", usual) as server:
        for place, stop in enumerate(stops):
            with start(fresh, server) as process:
                while server.count_served()["ok"] < stop:
                    assert process.poll() is None
                    time.sleep(0.01)
                process.send_signal(signal.SIGKILL if place < num_kills else signal.SIGINT)
                assert process.wait() == (-signal.SIGKILL if place < num_kills else 130)
        code, printed = run(fresh, server)
        assert code == 0, printed
        log = server.read_log()
    assert (fresh / "data" / "judgements" / "judgements.parquet").read_bytes() == expected
    answered = Counter(line["request"] for line in log if line["served"] == "ok")
    assert len(answered) == num_calls
    assert answered.total() - num_calls <= len(stops) * CONCURRENCY
    for folder in (project, fresh):
        assert find_key(folder) == []


def test_the_key_is_told_nowhere_though_the_server_quotes_it_and_marked_rows_are_asked_again_alone(
    project: Path, tmp_path: Path
) -> None:
    """First some calls fail, twice; then the server takes no key."""
    printed = ""
    reasons: list[str] = []
    with run_server(tmp_path / "log") as server:
        model = name_model("ill", **{"400": 0.04, "malformed": 0.03, "500": 0.1})
        write_judge(project, model)
        for _ in range(2):
            code, text = run(project, server)
            assert code == 0, text
            printed += text
            rows = read_rows(project)
            reasons += [answer["reason"] for row in rows for answer in row["answers"] if answer["reason"]]
        served = server.count_served(model)
        assert served["ok"] == sum(row["status"] == "ok" for row in rows)
        assert served["400"] > 0 < served["malformed"]
        assert find_wrong(project) == []
        assert reasons
        assert all("[key]" in reason for reason in reasons)
        costs = [record.metrics.get("judge_cost_USD") for record in Project.open(project).ledger.records()]
        assert sum(cost for cost in costs if cost) == pytest.approx(
            (served["ok"] + served["malformed"]) * (50 * 2 + 1 * 8) / 1e6
        )

        write_judge(project, name_model("closed", **{"401": 1.0}))
        code, text = run(project, server)
        assert code == 2
        assert "HTTP 401: 401 for Bearer [key]" in text
        assert "check the key in JUDGE_KEY" in text
        printed += text
    assert KEY[3:] not in printed
    assert find_key(project) == []
