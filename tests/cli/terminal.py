"""The `rlaif` command on a pseudo-terminal, and in pipes: what a person sees, and what a log gets."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPOSITORY

SECONDS = 240
"""How long anything may take on a busy machine."""
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = b"\x03"


@dataclass(slots=True)
class Terminal:
    """A command on a terminal, and all that it drew."""

    process: subprocess.Popen[bytes]
    descriptor: int
    drawn: bytes = field(default=b"")

    @property
    def lines(self) -> list[str]:
        """Every line that was drawn, without colours; a bar that moved is there once for each time."""
        text = _CODES.sub("", self.drawn.decode(errors="replace"))
        return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]

    def read_until(self, pattern: str) -> None:
        """Reads until a line matches."""
        end = time.monotonic() + SECONDS
        while not any(re.search(pattern, line) for line in self.lines):
            assert self._read(), f"{pattern!r} was not drawn: {self.lines[-20:]}"
            assert time.monotonic() < end, self.lines[-20:]

    def read_to_the_end(self) -> int:
        """Reads all that comes; returns the exit code."""
        end = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < end, self.lines[-20:]
        return self.process.wait(SECONDS)

    def type(self, keys: bytes) -> None:
        """Types."""
        os.write(self.descriptor, keys)

    def resize(self, width: int) -> None:
        """Gives the terminal another width."""
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def _read(self) -> bool:
        """Reads what is there; False at the end."""
        ready, _, _ = select.select([self.descriptor], [], [], 1.0)
        if not ready:
            return True
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # Linux's way to say that nobody writes any more
            return False
        self.drawn += data
        return bool(data)


@contextmanager
def open_terminal(
    *arguments: str, width: int = 80, cwd: Path = REPOSITORY, **variables: str
) -> Iterator[Terminal]:
    """Starts the command with a terminal of its own, as a shell would."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = subprocess.Popen(
        # Only the leader of a session can take a terminal, so that it gets the signals of keys.
        [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=_make_environment({"TERM": "xterm-256color", **variables}),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


_TAKE_TERMINAL = """\
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv[0] = "rlaif"
runpy.run_module("rlaif_dagster.cli.main", run_name="__main__")
"""


@contextmanager
def open_pipes(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Starts the command without a terminal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlaif_dagster.cli.main", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=_make_environment(variables),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_line_with(process: subprocess.Popen[str], words: str) -> list[str]:
    """Reads the error stream up to a line with these words, which the last line has."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} was not printed: {lines}")


def _make_environment(variables: Mapping[str, str]) -> dict[str, str]:
    left_out = ("DAGSTER_HOME", "RLAIF_PROJECT", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI")
    return {**{k: v for k, v in os.environ.items() if k not in left_out}, **variables}
