"""How long it takes to trace a principle through many verdicts, and how much memory.

    python -m benchmarks.trace [--verdicts 1000000] [--repeats 3]

Makes a project whose tables have the real columns and random contents (five principles, both orders), lands them as
versions in a real store and ledger, and runs `rlaif trace principle:p3 --json` in fresh processes. Prints wall time
and peak memory of each, and of `rlaif --help` for what the start of any command costs.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from rlaif_dagster.graph.sources import build_constitution
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.verdicts import judgements_schema
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import JUDGEMENTS_TABLE, PREFERENCES_TABLE
from rlaif_dagster.preferences import preferences_schema
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.versioning.store import init_store
from tests.plain_stages import make_plain_stage

PRINCIPLES = [f"p{number}" for number in range(5)]
PER_PAIR = 2 * len(PRINCIPLES)


def make_ids(count: int, seed: int) -> Any:
    """Random hexadecimal ids, `(count,)`."""
    data = np.random.default_rng(seed).bytes(8 * count).hex()
    return pa.array([data[16 * i : 16 * i + 16] for i in range(count)])


def write_judgements(folder: Path, num_pairs: int) -> None:
    """Writes verdicts of random probabilities."""
    count = num_pairs * PER_PAIR
    p_first = np.random.default_rng(0).random(count).round(6)
    pair = pa.array(np.repeat(np.arange(num_pairs), PER_PAIR))
    ids = make_ids(count, 1)
    nothing = pa.nulls(count, pa.string())
    answers = pa.StructArray.from_arrays(
        [
            ids,
            pa.repeat("ok", count),
            nothing,
            pa.array(p_first),
            nothing,
            pa.repeat(pa.scalar(50, pa.int64()), count),
            pa.nulls(count, pa.int64()),
            pa.repeat(False, count),
        ],
        fields=list(judgements_schema().field("answers").type.value_type),
    )
    columns = {
        "verdict_id": ids,
        **{
            name: make_ids(num_pairs, seed).take(pair)
            for seed, name in enumerate(("pair_id", "prompt_id", "response_a", "response_b"), start=2)
        },
        "order": pa.array(["ab", "ba"] * (count // 2)),
        "principle_id": pa.array(np.tile(np.repeat(PRINCIPLES, 2), num_pairs)),
        "judge": pa.repeat("judge", count),
        "repeat": pa.repeat(pa.scalar(0, pa.int64()), count),
        "status": pa.repeat("ok", count),
        "p_first": pa.array(p_first),
        "verdict": pa.array(np.where(p_first.round().astype(bool), "first", "second")),
        "answers": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), answers),
    }
    schema = judgements_schema()
    table = pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)
    parquet.write_table(table, folder / JUDGEMENTS_TABLE, compression="zstd")


def write_preferences(folder: Path, num_pairs: int) -> None:
    """Writes labels of random probabilities by principle."""
    p_a = np.random.default_rng(9).random((num_pairs, len(PRINCIPLES))).round(6)
    parts = pa.StructArray.from_arrays(
        [
            pa.array(PRINCIPLES * num_pairs),
            pa.array(p_a.ravel()),
            pa.array(np.ones(p_a.size)),
        ],
        fields=list(preferences_schema().field("principles").type.value_type),
    )
    offsets = np.arange(num_pairs + 1, dtype=np.int32) * len(PRINCIPLES)
    text = pa.repeat("An answer of some words, as answers are.", num_pairs)
    schema = preferences_schema()
    columns = []
    for field in schema:
        if field.name == "principles":
            columns.append(pa.ListArray.from_arrays(offsets, parts))
        elif field.name == "pair_id":
            columns.append(make_ids(num_pairs, 2))
        elif field.name == "p_a":
            columns.append(pa.array(p_a.mean(axis=1)))
        elif field.nullable:
            columns.append(pa.nulls(num_pairs, field.type))
        elif field.type == pa.string():
            columns.append(text)
        else:
            columns.append(pa.repeat(pa.scalar(0).cast(field.type), num_pairs))
    parquet.write_table(pa.table(columns, schema=schema), folder / PREFERENCES_TABLE, compression="zstd")


def make_stage(name: str, inputs: tuple[str, ...], write: Callable[[Path], None]) -> Stage:
    """A stage that writes what a function writes."""

    def compute(context: StageContext) -> StageResult:
        write(context.output)
        return StageResult()

    return make_plain_stage(name, compute, inputs=inputs, settings={})


def make_project(root: Path, num_verdicts: int) -> Path:
    """Lands constitution, verdicts and labels, and empty versions of what else a trace asks for."""
    import dataclasses

    init_store(root)
    project = Project.open(root)
    principles = tuple(Principle(id=name, text=f"Rule {name}.", weight=1.0) for name in PRINCIPLES)
    inputs = dataclasses.replace(
        ProjectInputs.read(TEMPLATE_ROOT), constitution=Constitution(principles=principles)
    )
    num_pairs = num_verdicts // PER_PAIR

    def write_empty(folder: Path) -> None:
        (folder / "empty").write_text("")

    above = ("constitution", "prompts", "sampled_responses")
    for stage in (
        build_constitution(inputs),
        make_stage("prompts", (), write_empty),
        make_stage("sampled_responses", ("prompts",), write_empty),
        make_stage("judgements", above, lambda folder: write_judgements(folder, num_pairs)),
        make_stage(
            "ai_preferences", (*above, "judgements"), lambda folder: write_preferences(folder, num_pairs)
        ),
    ):
        materialise(project, stage, progress=ignore_progress)
    return root


def time_command(*arguments: str) -> tuple[float, float, str]:
    """Runs a command; returns seconds, the peak memory of any command so far in MB, and the last line it printed."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "rlaif_dagster.cli.main", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return seconds, peak, done.stdout.splitlines()[-1]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    table = Table("command", "median s", "least", "most", "peak MB", title=f"{options.verdicts:,} verdicts")
    with tempfile.TemporaryDirectory() as folder:
        root = make_project(Path(folder), options.verdicts)
        project = ("--project", str(root))
        for arguments in (("--help",), ("trace", "principle:p3", "--json", *project)):
            runs = [time_command(*arguments) for _ in range(options.repeats)]
            seconds = [run[0] for run in runs]
            table.add_row(
                " ".join(arguments[:2]),
                f"{statistics.median(seconds):.2f}",
                f"{min(seconds):.2f}",
                f"{max(seconds):.2f}",
                f"{runs[-1][1]:.0f}",
            )
        facts = json.loads(runs[-1][2])["facts"]
        found = facts["verdicts"]["num_verdicts"]
    Console().print(table)
    print(f"the trace found {found:,} verdicts and {facts['labels']['num_flipped']:,} labels that would flip")


if __name__ == "__main__":
    main()
