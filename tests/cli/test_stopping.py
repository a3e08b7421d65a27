"""Ctrl-C and SIGTERM end a command with one sentence and the exit code that shells expect, wherever it is."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.cli.terminal import CTRL_C, open_pipes, open_terminal, read_line_with
from tests.cli.test_progress import FOREIGN
from tests.conftest import edit_yaml, run_assets
from tests.graph.planted_project import make_planted, write_lines
from tests.lineage.tiny_project import make_tiny

KEPT = "stopped; finished work is kept, and the next run continues from there"
STOP_SECONDS = 20
"""A few on a machine that does nothing else."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with recorded responses and a planted judge."""
    root = make_tiny(tmp_path / "project").root
    make_planted(root)
    return root


@pytest.fixture
def deaf_server() -> Iterator[str]:
    """The address of a server that takes every call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def ask_a_server(project: Path) -> None:
    (project / "inputs" / "judge.yaml").write_text(
        "{provider: openai, model: m, template: compact, api_key_env: null, limits: {timeout_seconds: 600}}"
    )


def train_for_long(project: Path) -> None:
    edit_yaml(
        project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(reward_model={"num_epochs": 500.0, "batch_size": 8}),
    )


def sample_for_long(project: Path) -> None:
    edit_yaml(
        project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            sampling={"provider": "local", "num_samples": 2000, "max_new_tokens": 64},
            execution={"sampling_batch_size": 4},
        ),
    )


@pytest.mark.slow
def test_ctrl_c_while_a_server_is_waited_for(project: Path, deaf_server: str) -> None:
    """And without a terminal: SIGINT, as an editor or a script sends it, and SIGTERM, as a service manager does."""
    ask_a_server(project)
    arguments = ("run", "judgements", "--project", str(project))
    with open_terminal(*arguments, OPENAI_BASE_URL=deaf_server) as terminal:
        terminal.read_until(r"judgements +\d:\d\d:\d[1-9]")
        terminal.type(CTRL_C)
        started = time.monotonic()
        assert terminal.read_to_the_end() == 130
        assert time.monotonic() - started < STOP_SECONDS
    assert terminal.lines[-1] == KEPT
    assert re.match(r"^judgements: stopped, \d+\.\d s$", terminal.lines[-2]), terminal.lines[-5:]
    assert [line for line in terminal.lines if FOREIGN.search(line)] == []
    for sent in (signal.SIGINT, signal.SIGTERM):
        with open_pipes(*arguments, OPENAI_BASE_URL=deaf_server) as process:
            read_line_with(process, "judgements: started")
            time.sleep(1.0)  # it has come to wait
            process.send_signal(sent)
            stdout, rest = process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 128 + sent
        assert stdout == ""
        assert re.fullmatch(rf"judgements: stopped, \d+\.\d s\n{KEPT}\n", rest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lengthen", "asset", "what"),
    [
        (sample_for_long, "sampled_responses", "responses"),
        (train_for_long, "reward_model", "reward model steps"),
    ],
)
def test_ctrl_c_while_a_stage_samples_or_trains(
    project: Path, lengthen: object, asset: str, what: str
) -> None:
    assert callable(lengthen)
    lengthen(project)
    with open_terminal("run", asset, "--project", str(project)) as terminal:
        terminal.read_until(rf"{what}.* \d+/\d+")
        terminal.type(CTRL_C)
        started = time.monotonic()
        assert terminal.read_to_the_end() == 130
        assert time.monotonic() - started < STOP_SECONDS
    assert terminal.lines[-1] == KEPT
    assert [line for line in terminal.lines if FOREIGN.search(line)] == []
    assert run_assets("prompts", project=project)["prompts"]["status"] == "reused"


@pytest.mark.slow
def test_ctrl_c_in_other_commands(project: Path) -> None:
    """What was pruned stays so; an audit of a file keeps nothing, and does not say that it does."""
    run_assets("prompts", project=project)
    write_lines(
        project / "verdicts.jsonl",
        [{"pair_id": pair, "judge": "j", "order": "ab", "verdict": "first"} for pair in range(100_000)],
    )
    with FileLock(project / ".rlaif" / "locks" / "ledger.lock"):  # which a collection waits for
        for command, sentence in (
            (["gc", "--keep", "releases", "--apply"], KEPT),
            (["judge-audit", "verdicts.jsonl"], "stopped"),
        ):
            with open_terminal(*command, "--project", str(project)) as terminal:
                terminal.read_until(rf"^\S rlaif {command[0]} +0:\d\d:\d\d$")
                terminal.type(CTRL_C)
                assert terminal.read_to_the_end() == 130
            assert terminal.lines[-1] == sentence
            assert [line for line in terminal.lines if FOREIGN.search(line)] == []


SWALLOWING = """\
import signal, sys, typer
from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.cli.stopping import StoppableCommands

class Commands(StoppableCommands):
    keeping = frozenset({"run"})

app = typer.Typer(cls=Commands)
app.callback()(lambda: None)

@app.command()
def run():
    with show_progress("rlaif run") as progress:
        progress("rows", 1, 10)
        try:
            signal.raise_signal(int(sys.argv[1]))
        except BaseException:
            print("swallowed")
        progress("rows", 2, 10)
        print("went on")

app(["run"])
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_swallows_stops_the_work_at_its_next_step(sent: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWING, str(int(sent))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + sent, "swallowed\n", f"{KEPT}\n")


FORKING = """\
import multiprocessing, time, typer
from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.cli.stopping import StoppableCommands

app = typer.Typer(cls=StoppableCommands)
app.callback()(lambda: None)

@app.command()
def run():
    with show_progress("rlaif run") as progress:
        forking = multiprocessing.get_context("fork")
        started = forking.Event()
        child = forking.Process(target=lambda: (started.set(), time.sleep(30)))
        child.start()
        started.wait()
        child.terminate()
        child.join()
        progress("rows", 1, 10)
        print(child.exitcode)

app(["run"])
"""


def test_a_signal_to_a_forked_child_ends_the_child_alone() -> None:
    """As when a pool of a library ends its workers."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")
