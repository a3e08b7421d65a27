"""A real server: `transformers serve` on the embedded judge says what the judge says when it runs here."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest

from rlaif_dagster.judging.calls import Call
from rlaif_dagster.judging.providers.local import LocalJudge, LocalJudgeSettings
from rlaif_dagster.judging.providers.openai import OpenAIJudgeSettings
from rlaif_dagster.judging.served import ServedJudge
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.models import embedded_path
from rlaif_dagster.world.questions import list_known_sentences

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("fastapi") is None or find_spec("openai") is None,
        reason="`transformers serve` needs fastapi and openai (the extra `dev`)",
    ),
]

COMPACT = load_template("compact")


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Runs the server on a model folder; gives its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(folder), *options],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def make_calls() -> list[Call]:
    """Short against long answers, in both orders."""
    sentences = list_known_sentences()
    calls = []
    for place in range(6):
        short, long = sentences[place * 7], " ".join(sentences[place * 5 : place * 5 + 3])
        for order, (first, second) in enumerate([(short, long), (long, short)]):
            texts = {"principle": "Keep the answer short.", "prompt": "How do I clean a kettle?"}
            texts |= {"first": first, "second": second}
            calls.append(Call(call_id=f"{place}.{order}", texts=texts, repeat=0))
    return calls


def test_the_served_judge_writes_what_the_local_judge_finds_likelier() -> None:
    folder = embedded_path("judge")
    local = LocalJudge(
        LocalJudgeSettings(provider="local", model="embedded:judge", template="compact"),
        COMPACT,
        folder=folder,
    )
    expected = {
        answer.call_id: "A" if (answer.score or 0.0) > 0.5 else "B"
        for answer in chain.from_iterable(local.ask(make_calls()))
    }
    with serve(folder) as url:
        settings = OpenAIJudgeSettings(
            provider="openai", model=str(folder), base_url=url, api_key_env=None, max_tokens=1
        )
        answers = list(chain.from_iterable(ServedJudge(settings, COMPACT, environment={}).ask(make_calls())))
    assert {answer.call_id: (answer.text or "").strip() for answer in answers} == expected
    assert set(expected.values()) == {"A", "B"}
    assert all(answer.status == "ok" and answer.output_tokens == 1 for answer in answers)
    assert all((answer.input_tokens or 0) > 20 for answer in answers)
