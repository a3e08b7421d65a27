"""A chat completions server with faults, run in a process of its own: `python -m tests.serving.fault_server`.

What happens to a request is drawn from its content and from how often it came before, so runs can be compared. The
judge in it prefers the longer answer of the `compact` template. A model that is named by JSON, as `name_model` writes
it, behaves as that says; other models behave as the command line says. Error bodies quote the Authorization header.
Every request is a line in the log, written before the reply is sent:
`{"model": name, "request": digest, "attempt": n, "served": "ok" | "malformed" | "429" | ...}`.
"""

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import IO, Any

from aiohttp import web

FAULTS: Mapping[str, float] = {"429": 0.05, "500": 0.02, "reset": 0.01, "hang": 0.01, "malformed": 0.01}
"""Shares of the requests that the issue names."""
INPUT_TOKENS, OUTPUT_TOKENS = 50, 1


def draw(*what: object) -> float:
    """A number in [0, 1) by content."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:8]) / 2**64


def find_reply(message: str) -> str:
    """What is said of a message: an answer that it shows alone, as a critic's, is said again as it is."""
    shown = next((line for line in message.splitlines() if line.startswith("Answer: ")), None)
    return find_verdict(message) if shown is None else shown.removeprefix("Answer: ")


def find_verdict(message: str) -> str:
    """The longer answer of a `compact` message; A if they are equally long."""
    lines = message.splitlines()
    first, second = (next(line for line in lines if line.startswith(mark)) for mark in ("A: ", "B: "))
    return "A" if len(first) >= len(second) else "B"


def choose(faults: Mapping[str, float], chance: float) -> str:
    """The fault, or `ok`, that a number in [0, 1) falls on."""
    for fault, share in faults.items():
        chance -= share
        if chance < 0:
            return fault
    return "ok"


def name_model(
    name: str, *, latency: float = 0.0, spread: float = 0.5, slots: float = sys.maxsize, **faults: float
) -> str:
    """A model that behaves so.

    Args:
        name: Its name.
        latency: Mean seconds for a call, once it has a slot.
        spread: The share of them by which a call may take less or more, evenly.
        slots: How many calls are worked on at once; the others stand in a queue, and none leaves it.
        faults: Shares of faults.
    """
    manner = {"name": name, "latency": latency, "spread": spread, "slots": slots, "faults": faults}
    return json.dumps(manner)


class FaultServer:
    """Serves requests, and logs them."""

    def __init__(self, log: IO[str], options: argparse.Namespace) -> None:
        self._log = log
        self._usual = options.usual
        self._attempts: Counter[str] = Counter()
        self._slots: dict[str, asyncio.Semaphore] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        asked = json.loads(body)
        name = hashlib.sha256(body).hexdigest()[:16]
        self._attempts[name] += 1
        attempt = self._attempts[name]
        manner = json.loads(asked["model"] if asked["model"].startswith("{") else self._usual)
        served = choose(manner["faults"], draw("fault", name, attempt))
        async with self._slots.setdefault(asked["model"], asyncio.Semaphore(manner["slots"])):
            stretch = 2 * draw("latency", name, attempt) - 1
            await asyncio.sleep(manner["latency"] * (1 + manner["spread"] * stretch))
        line = {"model": asked["model"], "request": name, "attempt": attempt, "served": served}
        self._log.write(json.dumps(line) + "\n")
        if served == "hang":
            await asyncio.sleep(3600)
        if served == "reset":
            if request.transport is not None:
                request.transport.abort()
            await asyncio.sleep(0)
        if served.isdigit():
            said = f"{served} for {request.headers.get('Authorization')}"
            return web.json_response(
                {"error": {"message": said, "code": None}},
                status=int(served),
                headers=self._ask_to_wait(name, attempt) if served == "429" else {},
            )
        return web.json_response(self._answer(asked, malformed=served == "malformed"))

    def _ask_to_wait(self, name: str, attempt: int) -> dict[str, str]:
        """A third of the refusals say nothing, a third say seconds, a third a date."""
        kind = int(3 * draw("wait", name, attempt))
        return [{}, {"Retry-After": "1"}, {"Retry-After": formatdate(time() + 1, usegmt=True)}][kind]

    def _answer(self, asked: Mapping[str, Any], *, malformed: bool) -> dict[str, Any]:
        text = "Hard to say." if malformed else find_reply(asked["messages"][-1]["content"])
        return {
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS},
        }


async def serve(options: argparse.Namespace) -> None:
    """Serves until killed, or until whoever started it is gone; the first line printed is the port."""
    with Path(options.log).open("a", buffering=1) as log:
        server = web.Server(FaultServer(log, options).handle, access_log=None)
        runner = web.ServerRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        print(runner.addresses[0][1], flush=True)  # noqa: T201 - how the port is told
        parent = os.getppid()
        while os.getppid() == parent:
            await asyncio.sleep(0.5)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server's address and log."""

    url: str
    log: Path

    def read_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def count_served(self, model: str | None = None) -> Counter[str]:
        """How often each kind of reply was given, by one model or by all."""
        return Counter(line["served"] for line in self.read_log() if model in (None, line["model"]))


@contextmanager
def run_server(log: Path, usual: str | None = None) -> Iterator[RunningServer]:
    """Runs the server in a process of its own; `usual` is how models without manners of their own behave."""
    arguments = [str(log), *([usual] if usual else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.fault_server", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield RunningServer(f"http://127.0.0.1:{port}/v1", log)
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Runs the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("usual", nargs="?", default=name_model("usual"))
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
