"""What the call engine adds to the server's own time: labelling through a served judge against a bare aiohttp loop.

    python -m benchmarks.judging_engine [--repeats 5] [--calls 4000] [--memory]

A real HTTP server in a process of its own answers after 100 ms in the mean (50 to 150 ms, drawn by the request's
content). Each repeat starts two fresh processes for each concurrency, in turns:

- `engine`: the path of the asset `judgements`: questions planned from pairs, the judge opened from its folder as
  stored, every answer committed to a new journal, a progress display that is told of each;
- `bare`: as many workers as the concurrency, which take ready-made bodies from a list and post them.

The figure is wall time over calls x 100 ms / concurrency; 1 is a server that is never waited for. `--memory` prints
the peak memory of the engine's process at `--calls` and at four times as many.
"""

import argparse
import asyncio
import importlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.judging.asking import PlanQuestions, ask_questions
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.judging.opening import StoredJudge, write_judge
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.providers.openai import OpenAIJudgeSettings
from rlaif_dagster.judging.questions import plan_questions
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.serving.settings import LimitSettings
from tests.serving.fault_server import name_model, run_server

LATENCY_SECONDS = 0.1
WORDS = 20 * "the kettle has limescale so boil some vinegar in it and rinse it twice before tea "
CONSTITUTION = Constitution(
    principles=(
        Principle(id="honest", text="Say only what is true, and admit what you do not know.", weight=1.0),
    )
)


def prepare_plan(num_calls: int) -> PlanQuestions:
    """Plans four answers to each prompt, every two compared in both orders: twelve calls a prompt."""
    prompts = {f"p{place}": f"{place} {WORDS[:150]}" for place in range(-(-num_calls // 12))}
    texts = {
        f"{prompt} {place}": f"{prompt} {WORDS[: 200 + 80 * place]}"
        for prompt in prompts
        for place in range(4)
    }
    pairs = [
        Pair.from_responses(prompt, f"{prompt} {first}", f"{prompt} {second}")
        for prompt in prompts
        for first, second in itertools.combinations(range(4), 2)
    ][: num_calls // 2]
    return lambda profiles: plan_questions(pairs, CONSTITUTION, profiles, prompts=prompts, texts=texts)


def store_judge(folder: Path, url: str, concurrency: int) -> tuple[StoredJudge, OpenAIJudgeSettings]:
    """Writes a judge's folder as the asset `judge` does, and reads it."""
    template = load_template("compact")
    settings = OpenAIJudgeSettings(
        provider="openai",
        model="judge",
        base_url=url,
        api_key_env=None,
        template="compact",
        limits=LimitSettings(concurrency=concurrency),
    )
    write_judge(folder, settings, template)
    return StoredJudge.read(folder), settings


def time_engine(url: str, num_calls: int, concurrency: int) -> tuple[float, float]:
    """Seconds to label, from the first question planned to the last answer kept; wall and CPU."""
    importlib.import_module("rlaif_dagster.judging.served")  # before the clock starts, as aiohttp is below
    with tempfile.TemporaryDirectory() as name, show_progress("judging engine") as progress:
        judge, settings = store_judge(Path(name), url, concurrency)
        plan = prepare_plan(num_calls)
        started = time.perf_counter(), time.process_time()
        with open_journal(Path(name, "journal"), "benchmark") as journal:
            result = ask_questions(
                plan,
                judge.profile,
                lambda: judge.open(today=settings, numerics=NumericsSettings(), batch_size=1),
                journal,
                progress=progress,
            )
        taken = time.perf_counter() - started[0], time.process_time() - started[1]
    if result.num_asked != num_calls:
        raise RuntimeError(f"{result.num_asked} of {num_calls} calls were asked")
    return taken


def time_bare(url: str, num_calls: int, concurrency: int) -> tuple[float, float]:
    """Seconds for as many posts in a bare loop; wall and CPU."""
    import aiohttp

    with tempfile.TemporaryDirectory() as name:
        judge, _ = store_judge(Path(name), url, concurrency)
        bodies = [
            json.dumps(
                {
                    "model": "judge",
                    "messages": judge.profile.template.render(call.texts),
                    "temperature": 0.0,
                    "max_tokens": 1024,
                    "seed": 0,
                }
            ).encode()
            for question in prepare_plan(num_calls)([judge.profile])
            for call in question.calls
        ]

    async def work(session: aiohttp.ClientSession) -> None:
        while bodies:
            async with session.post(f"{url}/chat/completions", data=bodies.pop()) as reply:
                (await reply.json())["choices"][0]["message"]["content"]

    async def run() -> None:
        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            await asyncio.gather(*(work(session) for _ in range(concurrency)))

    started = time.perf_counter(), time.process_time()
    asyncio.run(run())
    return time.perf_counter() - started[0], time.process_time() - started[1]


def measure(
    way: str,
    num_calls: int,
    concurrency: int,
    *,
    latency: float = LATENCY_SECONDS,
    spread: float = 0.5,
    slots: int = sys.maxsize,
) -> dict[str, float]:
    """Runs one way in a new process against a new server.

    Args:
        way: `engine` or `bare`.
        num_calls: How many calls.
        concurrency: Most under way.
        latency: The server's mean seconds for a call.
        spread: The share by which they differ.
        slots: How many calls the server works on at once.

    Returns:
        `seconds`, `cpu_seconds`, `peak_mb`, and the `requests` that the server saw.
    """
    manner = name_model("usual", latency=latency, spread=spread, slots=slots)
    with tempfile.TemporaryDirectory() as name, run_server(Path(name, "log"), manner) as server:
        arguments = ["--one", way, server.url, str(num_calls), str(concurrency)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.judging_engine", *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return {**figures, "requests": len(server.read_log())}


def print_one(way: str, url: str, num_calls: int, concurrency: int) -> None:
    """What the new process does."""
    seconds, cpu_seconds = (time_engine if way == "engine" else time_bare)(url, num_calls, concurrency)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak / 1024}
    print(json.dumps(figures))


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, url, num_calls, concurrency = arguments.one
        print_one(way, url, int(num_calls), int(concurrency))
        return
    console = Console()
    for concurrency in arguments.concurrency:
        least = arguments.calls * LATENCY_SECONDS / concurrency
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ("engine", "bare")}
        for _ in range(arguments.repeats):
            for way, figures in found.items():
                figures.append(measure(way, arguments.calls, concurrency))
        table = Table("way", "time / least, median", "from", "to", "CPU ms a call", "peak MB")
        for way, figures in found.items():
            ratios = [one["seconds"] / least for one in figures]
            table.add_row(
                way,
                f"{statistics.median(ratios):.3f}",
                f"{min(ratios):.3f}",
                f"{max(ratios):.3f}",
                f"{statistics.median(one['cpu_seconds'] for one in figures) / arguments.calls * 1000:.2f}",
                f"{max(one['peak_mb'] for one in figures):.0f}",
            )
        console.print(f"{arguments.calls} calls, concurrency {concurrency}, {arguments.repeats} repeats")
        console.print(table)
    if arguments.memory:
        for num_calls in (arguments.calls, 4 * arguments.calls):
            peak = measure("engine", num_calls, 256)["peak_mb"]
            console.print(f"{num_calls} calls at concurrency 256: peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
