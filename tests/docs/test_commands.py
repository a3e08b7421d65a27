"""Every documented command is run here in the state that it is for, or listed with the reason why not."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.warm import write_command

from .commands import COMMAND_PAGES, Block, read_blocks
from .states import (
    PERSON,
    Prepare,
    State,
    make_two_releases,
    open_conflict,
    open_empty,
    open_of_0_1_0,
    open_refused,
    open_released,
    open_shared,
    open_signed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Blocks of one page that are typed one after the other, in one project."""

    page: str
    blocks: tuple[int, ...] = (1,)
    begins: Prepare = open_released


SESSIONS = (
    Session(page="README.md", blocks=(3,)),
    Session(page="docs/audit.md", begins=open_signed),
    Session(page="docs/diff.md"),
    Session(page="docs/extending.md"),
    Session(page="docs/gc.md"),
    Session(page="docs/judge-audit.md"),
    Session(page="docs/operating.md", blocks=(3, 8)),
    Session(page="docs/operating.md", blocks=(6,)),
    Session(page="docs/operating.md", blocks=(9, 10), begins=open_shared),
    Session(page="docs/operating.md", blocks=(11,), begins=open_conflict),
    Session(page="docs/operating.md", blocks=(12,), begins=open_of_0_1_0),
    Session(page="docs/plan.md"),
    Session(page="docs/releases.md", blocks=(1, 2, 4)),
    Session(page="docs/releases.md", blocks=(3,), begins=open_refused),
    Session(page="docs/sharing.md", blocks=(1, 2), begins=open_shared),
    Session(page="docs/standards.md", blocks=(1, 2, 3)),
    Session(page="docs/time-travel.md"),
    Session(page="docs/trace.md"),
    Session(page="examples/recorded/README.md", begins=open_empty),
    Session(page="rlaif_dagster/project_template/README.md"),
)

INSTALLS = "installs packages from an index"
INSTALLED = "run with the wheel by tests/acceptance/test_plain_install.py"
SERVES = "a server, which does not end: "
MODELS = "takes models that answer, and those here are made up; run by tests/acceptance/test_default_run.py"
MEASURES = "measures for hours"
NOT_RUN = {
    "make run": INSTALLS,
    "make check": "runs some of these tests",
    "make test": "runs these tests",
    "make ui": SERVES + "`rlaif ui`",
    "rlaif ui": SERVES + "run by tests/acceptance/test_ui.py",
    "dagster dev -w workspace.yaml": SERVES + "what `rlaif ui` starts",
    "tensorboard --logdir .rlaif/tensorboard": SERVES
    + "what it shows is read by tests/training/test_curves.py",
    "python3 -m venv .venv": INSTALLS + " afterwards",
    ".venv/bin/pip install \"$(grep '^torch==' requirements.lock)\"": INSTALLS,
    ".venv/bin/pip install --no-deps -r requirements.lock": INSTALLS,
    ".venv/bin/pip install --no-deps --no-build-isolation .": INSTALLS,
    ".venv/bin/pip install rlaif-dagster": INSTALLED,
    "pip install ...": INSTALLS,
    ".venv/bin/rlaif init my-project": INSTALLED,
    ".venv/bin/rlaif run --project my-project": INSTALLED,
    "pip install .": "installs the page's own package; done by tests/docs/test_extending.py",
    "pip install --no-deps dagster-postgres==0.29.27 psycopg2-binary": INSTALLS,
    "python -c \"from huggingface_hub import HfApi; print(HfApi().model_info('org/name').sha)\"": "asks a website",
    "python -m benchmarks.methods WORK --plot docs/images/methods.png": MEASURES,
    "python -m benchmarks.rounds WORK": MEASURES,
    'rlaif chat "Hi, how can I make tea?"': MODELS,
    "rlaif chat": MODELS,
    'rlaif chat "Where is my order?"': MODELS,
    "rlaif chat --project ../as-of-v1.2": MODELS,
    "dvc remote modify --local team keyfile ~/.ssh/team": "for SSH only; the session's remote is a folder",
    "rlaif judge-audit verdicts.jsonl --json | tail -1 | jq '.judges | map_values(.order_agreement)'": (
        "jq is no part of the environment; the line above it is run"
    ),
}
"""Documented commands that no session runs, and why."""

BLOCKS = {block.place: block for page in COMMAND_PAGES for block in read_blocks(page)}


def test_every_documented_command_is_run_or_listed_with_a_reason() -> None:
    """A new one has to be placed: in a block of a session, or in `NOT_RUN`."""
    run = [(session.page, number) for session in SESSIONS for number in session.blocks]
    assert len(run) == len(set(run))
    assert set(run) <= set(BLOCKS)
    unplaced = [
        f"{block.page}: {command.text}"
        for place, block in BLOCKS.items()
        if place not in run
        for command in block.commands
        if command.text not in NOT_RUN
    ]
    assert unplaced == []
    known = {command.text for block in BLOCKS.values() for command in block.commands}
    assert [text for text in NOT_RUN if text not in known] == []


def test_every_session_runs_something() -> None:
    for session in SESSIONS:
        for number in session.blocks:
            texts = [command.text for command in BLOCKS[session.page, number].commands]
            assert set(texts) - set(NOT_RUN), (session.page, number)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_two_releases(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a shell needs in its environment to find `rlaif`, and the other commands of this environment."""
    folder = tmp_path_factory.mktemp("bin")
    needed = write_command(folder)
    return needed | {
        "PATH": os.pathsep.join((str(folder), str(Path(sys.executable).parent), os.environ["PATH"]))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "session", SESSIONS, ids=[f"{one.page}-{'-'.join(map(str, one.blocks))}" for one in SESSIONS]
)
def test_documented_commands_work_in_the_state_that_they_are_for(
    session: Session, released: Path, commands: dict[str, str], tmp_path: Path
) -> None:
    state = session.begins(tmp_path, released)
    blocks = [BLOCKS[session.page, number] for number in session.blocks]
    variables = {
        name: text for name, text in os.environ.items() if name not in ("DAGSTER_HOME", "RLAIF_PROJECT")
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(write_script(blocks, state))],
        env=variables | PERSON | commands | {"EDITOR": "touch", "GIT_EDITOR": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def write_script(blocks: list[Block], state: State) -> Iterator[str]:
    """Yields the lines of a script that types the commands, and ends where one does not end as its page says.

    A command that fails by its page ends with 2 if it is ours (a fault that a person can put right), else with 1.
    """
    for number, block in enumerate(blocks):
        yield f"cd '{state.folders[min(number, len(state.folders) - 1)]}'"
        for command in block.commands:
            if command.text in NOT_RUN:
                continue
            text = command.text
            for pattern, typed in state.words.items():
                text = re.sub(pattern, typed, text)
            expected = (2 if text.startswith("rlaif") else 1) if command.is_refused else 0
            yield f"echo {shlex.quote('$ ' + text)}"
            yield text
            yield f'code=$?; test $code -eq {expected} || {{ echo "ended with $code"; exit 1; }}'
