"""Processes that work at once on one project."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

# Processes are forked from a server that has made the imports and nothing else: tqdm, which DVC uses, shares a
# lock with whatever is forked after its first use.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.lineage.audited_projects", "dvc.config", "dvc.lock"])


def start(work: Callable[[int], object], num_processes: int, *, gate: Path) -> list[BaseProcess]:
    """Starts processes that begin their work together, when a file is made; each is told its number."""
    gate.unlink(missing_ok=True)
    processes: list[BaseProcess] = [
        PROCESSES.Process(target=wait_and_work, args=(gate, work, number)) for number in range(num_processes)
    ]
    for process in processes:
        process.start()
    gate.touch()
    return processes


def wait_and_work(gate: Path, work: Callable[[int], object], number: int) -> None:
    while not gate.exists():
        time.sleep(0.001)
    work(number)


def wait_for(processes: list[BaseProcess]) -> list[int | None]:
    """Waits for processes; returns their exit codes, None for one that hangs."""
    for process in processes:
        process.join(timeout=120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes
