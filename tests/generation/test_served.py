"""A policy's own server: started for the sampling, asked with each response's seed, and gone afterwards."""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from rlaif_dagster.errors import JudgeError, ModelError
from rlaif_dagster.generation.responses import ResponseKey
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import SamplingResult, sample_responses
from rlaif_dagster.generation.served import complete_by_server
from rlaif_dagster.generation.server import serve_policy
from rlaif_dagster.tables import Row
from tests.training.tiny_models import PROMPTS

TRANSFORMERS_SERVE = (
    sys.executable,
    "-c",
    "import sys; from transformers.cli.transformers import main; sys.exit(main())",
    *("serve", "{model}", "--host", "{host}", "--port", "{port}", "--device", "cpu"),
)
ROWS: list[Row] = [{"prompt_id": f"p{i}", "prompt": prompt} for i, prompt in enumerate(PROMPTS[:3])]


def sample(policy: Path, settings: LocalSamplingSettings, kept: list[Row] | None = None) -> SamplingResult:
    return sample_responses(
        policy,
        ROWS,
        settings,
        root_seed=7,
        policy_digest="sha256:policy",
        device=torch.device("cpu"),
        keep=kept.extend if kept is not None else lambda rows: None,
    )


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("fastapi") is None or find_spec("openai") is None,
    reason="`transformers serve` needs fastapi and openai (the extra `dev`)",
)
def test_a_real_server_says_what_the_policy_says_here(policy_path: Path) -> None:
    kept: list[Row] = []
    here = LocalSamplingSettings(num_samples=1, temperature=0.0, max_new_tokens=12)
    served = here.model_copy(update={"server_command": TRANSFORMERS_SERVE})
    rows = sample(policy_path, served, kept).rows
    expected = sample(policy_path, here).rows
    assert [row["text"] for row in rows] == [row["text"] for row in expected]
    assert [row["finish_reason"] for row in rows] == [row["finish_reason"] for row in expected]
    assert sorted(kept, key=lambda row: row["prompt_id"]) == list(rows)
    assert not {row["response_id"] for row in rows} & {row["response_id"] for row in expected}


_ODD_SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        odd = asked["messages"][0]["content"] == sys.argv[2]
        message = {"content": None, "reasoning_content": "hm"} if odd else {"content": "Yes."}
        self.reply({"choices": [{"message": message, "finish_reason": "stop"}]})
    def reply(self, value):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.slow
def test_a_reply_that_is_no_answer_is_a_row_that_says_why_and_never_an_empty_answer(
    policy_path: Path,
) -> None:
    odd = ROWS[1]["prompt"]
    command = (sys.executable, "-c", _ODD_SERVER, "{port}", odd, "{model}")
    kept: list[Row] = []
    result = sample(policy_path, LocalSamplingSettings(num_samples=2, server_command=command), kept)
    assert [row["prompt_id"] for row in result.rows] == ["p0", "p0", "p2", "p2"]
    assert {row["text"] for row in result.rows} == {"Yes."}
    assert (len(kept), result.num_sampled, result.num_reused) == (4, 4, 0)
    assert [(row["prompt_id"], row["index"], row["status"], row["reason"]) for row in result.failed] == [
        ("p1", index, "failed", "the reply has no text") for index in range(2)
    ]
    with pytest.raises(ModelError, match=r"no response to 2 of 6 requests.*p1: the reply has no text"):
        result.require_all()


_CLOSED_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200, b"{}")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(401, b'{"error": {"message": "who are you?"}}')
    def reply(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_that_takes_no_request_is_a_models_fault_and_not_a_judges(tmp_path: Path) -> None:
    answers = complete_by_server(
        (sys.executable, "-c", _CLOSED_SERVER, "{port}"),
        tmp_path,
        PROMPTS[:3],
        seeds=[1, 2, 3],
        settings=LocalSamplingSettings(),
        concurrency=2,
    )
    with pytest.raises(
        ModelError, match=r"the policy's server: HTTP 401: who are you\?\.\n  remedy: "
    ) as caught:
        list(answers)
    assert isinstance(caught.value.__cause__, JudgeError)


@pytest.mark.slow
def test_a_server_that_ends_is_named_with_what_it_said(policy_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('no GPU here')", "{model}", "{port}")
    with pytest.raises(ModelError, match=r"(?s)ended with status 1.*no GPU here.*server_command"):
        sample(policy_path, LocalSamplingSettings(server_command=command))


def test_a_program_that_is_not_there_is_named(policy_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'no-such-server' cannot be started"):
        sample(policy_path, LocalSamplingSettings(server_command=("no-such-server", "{model}", "{port}")))


def test_a_server_that_does_not_come_up_is_ended(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    with (
        pytest.raises(ModelError, match="did not start in time"),
        serve_policy(command, tmp_path, log=tmp_path / "log", ready_seconds=0.1),
    ):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_run_leaves_no_server(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    server = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    script = (
        "import sys; from pathlib import Path; from rlaif_dagster.generation.server import serve_policy\n"
        f"serve_policy([sys.executable, '-c', {server!r}], Path('.'), log=Path({str(tmp_path / 'log')!r}), "
        "ready_seconds=60).__enter__()"
    )
    run = subprocess.Popen([sys.executable, "-c", script])
    _await(lambda: pid_file.exists() and bool(pid_file.read_text()))
    run.kill()
    run.wait()
    pid = int(pid_file.read_text())
    _await(lambda: not _lives(pid))


def test_a_command_without_the_policy_or_the_port_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"the command lacks \{port\}"):
        LocalSamplingSettings(server_command=("vllm", "serve", "{model}"))


def test_the_servers_command_is_part_of_a_responses_identity_and_its_dtype_is_not() -> None:
    def identify(settings: LocalSamplingSettings) -> str:
        return ResponseKey(prompt="p", policy="q", settings=settings, root_seed=0, index=0).response_id

    here = LocalSamplingSettings()
    served = LocalSamplingSettings(server_command=("a", "{model}", "{port}"))
    assert len({identify(here), identify(served)}) == 2
    assert identify(served) == identify(served.model_copy(update={"dtype": "bfloat16"}))


@pytest.mark.skipif(not shutil.which("env"), reason="takes the program `env`")
def test_a_command_may_say_its_servers_version_and_does_what_it_did(tmp_path: Path) -> None:
    """As docs/inputs.md says: the version is a word of the command, so of the identity, and the server ignores it."""
    server = (
        "import http.server as h, sys; H = type('H', (h.BaseHTTPRequestHandler,), {'do_GET': lambda s: "
        "(s.send_response(200), s.end_headers()), 'log_message': lambda *_: None}); "
        "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()"
    )
    command = ("env", "SERVED_BY=server-2", sys.executable, "-c", server, "{port}")
    with serve_policy(command, tmp_path, log=tmp_path / "log", ready_seconds=60) as url:
        assert url.endswith("/v1")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _await(condition: "object") -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
