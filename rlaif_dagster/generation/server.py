"""Runs a program that serves a policy's folder as an OpenAI-compatible server, while it is needed.

The folder is the version that the record names, so the samples provably come from this policy; a server that somebody
else started could serve anything.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import ModelError
from rlaif_dagster.processes import end_with_parent

HOST: Final = "127.0.0.1"
_POLL_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 30.0
_LOG_LINES: Final = 15


@contextmanager
def serve_policy(command: Sequence[str], folder: Path, *, log: Path, ready_seconds: float) -> Iterator[str]:
    """Runs a server on a policy; yields the address of its API, up to and including `/v1`, when its `/health` answers.

    Args:
        command: The program and its arguments; `{model}`, `{host}` and `{port}` in them are filled in.
        folder: The policy's folder.
        log: The file for the program's output.
        ready_seconds: How long it may take to start.

    Raises:
        ModelError: If the program cannot be started, ends, or does not answer in time.
    """
    port = _find_free_port()
    words = [fill_in(word, {"model": str(folder), "host": HOST, "port": str(port)}) for word in command]
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, prepared before: safe between fork and exec
            )
        except OSError as error:
            raise ModelError(
                f"the policy's server {words[0]!r} cannot be started ({error}).\n"
                "  remedy: install it, or correct sampling.server_command in inputs/pipeline.yaml"
            ) from error
        try:
            _await_ready(process, f"http://{HOST}:{port}/health", ready_seconds, words[0], log)
            yield f"http://{HOST}:{port}/v1"
        finally:
            _stop(process)


def fill_in(word: str, values: Mapping[str, str]) -> str:
    """Replaces names in braces by their values; other braces stay unchanged."""
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _find_free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port


def _await_ready(
    process: "subprocess.Popen[bytes]", url: str, ready_seconds: float, name: str, log: Path
) -> None:
    deadline = time.monotonic() + ready_seconds
    while not (_answers(url) and process.poll() is None):  # else another program answers there
        if process.poll() is not None or time.monotonic() > deadline:
            came = (
                f"ended with status {process.returncode}"
                if process.poll() is not None
                else "did not start in time"
            )
            said = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
            raise ModelError(
                f"the policy's server {name!r} {came}; the end of its output:\n{said}\n"
                "  remedy: fix what it reports, or correct sampling.server_command in inputs/pipeline.yaml"
            )
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the program, first by asking, then by force, and everything that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
