"""What reuse, versions, ledger and Dagster cost: wall time of `rlaif run` over the bare stage functions.

    python -m benchmarks.overhead [--repeats 3]

Each repeat starts two fresh processes on a fresh default project: `rlaif run`, and a plain script that calls the same
stage functions one after the other, on plain folders. Both pay their own imports. Prints both times, their ratio and
its spread, and the time of a second `rlaif run`, in which everything is reused.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.lineage.project import Project


def run_plainly(project: Path, work: Path) -> None:
    """Calls every stage's function on plain folders: no store, no ledger, no Dagster, no checks."""
    for stage in Project.open(project).build_graph().values():
        output, scratch = work / stage.name, work / f"{stage.name}.scratch"
        output.mkdir(parents=True)
        scratch.mkdir()
        stage.compute(
            StageContext(
                inputs={name: work / name for name in stage.inputs},
                digests={name: FolderManifest.from_folder(work / name).digest for name in stage.inputs},
                output=output,
                scratch=scratch,
                journal=work / f"{stage.name}-journal",
                attempt="plain",
                services=NoHistory(),
            )
        )


def time_command(*arguments: str) -> float:
    """Runs a command in a new process and returns its wall time in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", nargs=2, metavar=("PROJECT", "WORK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        run_plainly(Path(arguments.plain[0]), Path(arguments.plain[1]))
        return
    table = Table("repeat", "plain script, s", "rlaif run, s", "ratio", "second rlaif run, s")
    ratios = []
    for repeat in range(1, arguments.repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder, "project")
            init_command(project)
            plain = time_command("benchmarks.overhead", "--plain", str(project), str(Path(folder, "work")))
            full = time_command("rlaif_dagster.cli.main", "run", "--project", str(project))
            again = time_command("rlaif_dagster.cli.main", "run", "--project", str(project))
        ratios.append(full / plain)
        table.add_row(str(repeat), f"{plain:.1f}", f"{full:.1f}", f"{ratios[-1]:.3f}", f"{again:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"ratio: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
