"""What a long history costs: a no-op `rlaif run`, and `rlaif plan`, after 100 to 10,000 past materialisations.

    python -m benchmarks.history [--sizes 100 1000 10000] [--repeats 5]

A small project is made by a real run. Then its history is lengthened: the run's records are written again and again,
each chained to the one before, every other time as if a setting had been another one; and the events that Dagster keeps
across runs (assets, checks, the run's states) are given to its instance again, under runs of their own, with the new
records' ids. The newest records are those of the inputs as they are. Each command is timed in a process of its own. A
busy machine lengthens the wall time, and hardly the time spent computing. The last column is the ledger's share: all
that a no-op run asks it, by a ledger opened anew.
"""

import argparse
import datetime
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sqlalchemy
from dagster import DagsterEventType, DagsterInstance, DagsterRun, EventLogEntry, MetadataValue
from dagster_shared.record import replace
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.projects import finish, make_trained, start_rlaif
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import find_parents, make_recipe

Records = Mapping[str, MaterialisationRecord]

_KEPT_ACROSS_RUNS = (
    DagsterEventType.PIPELINE_START,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.PIPELINE_SUCCESS,
)


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _write_without_waiting(connection: sqlite3.Connection, _record: object) -> None:
    """Lets this process, which writes the history, not wait for the disk; the commands that are timed do."""
    connection.execute("PRAGMA synchronous = OFF")


def lengthen_history(project: Project, size: int) -> None:
    """Brings a project to about a number of past materialisations; the last ones are of the inputs as they are."""
    made = project.ledger.find_heads()
    newest = project.ledger.records()[-1]
    with DagsterInstance.get() as instance:
        run = instance.get_runs(limit=1)[0]
        events = [one for one in instance.all_logs(run.run_id) if one.dagster_event_type in _KEPT_ACROSS_RUNS]
        num_runs = (size - newest.sequence) // len(made)
        for number in track(range(num_runs), description=f"{size} materialisations", transient=True):
            run_id = f"{number:08}-{size:08}"
            records = {}
            for asset, record in made.items():
                edit = number if (num_runs - number) % 2 == 0 else None
                newest = write_again(project, record, after=newest, run_id=run_id, edit=edit)
                records[asset] = newest
            tell_again(instance, replace(run, run_id=run_id), events, records)


def write_again(
    project: Project,
    record: MaterialisationRecord,
    *,
    after: MaterialisationRecord,
    run_id: str,
    edit: int | None,
) -> MaterialisationRecord:
    """Adds a record like another to the end of the chain; with an edit its settings had been others."""
    recipe = record.recipe_parts
    if edit is not None:
        settings = {name: {"edit": edit, "of": value} for name, value in recipe.settings.items()}
        recipe = recipe.model_copy(update={"settings": settings})
    again = record.model_copy(
        update={
            "sequence": after.sequence + 1,
            "previous": (after.record_id,),
            "recipe": str(recipe.digest),
            "recipe_parts": recipe,
            "run_id": run_id,
            "started_at": after.ended_at,
            "ended_at": after.ended_at + datetime.timedelta(milliseconds=1),
            "reused_from": record.record_id if edit is None else None,
        }
    )
    (project.ledger.folder / f"{again.record_id}.json").write_bytes(again.to_bytes())
    return again


def tell_again(
    instance: DagsterInstance, run: DagsterRun, events: Sequence[EventLogEntry], records: Records
) -> None:
    """Gives Dagster a run with the events of another, its materialisations being those of the records."""
    instance.add_run(run)
    for event in events:
        told = event.dagster_event
        if told is not None and event.asset_materialization is not None:
            materialization = event.asset_materialization
            record = records[materialization.asset_key.to_user_string()]
            metadata = {**materialization.metadata, "record": MetadataValue.text(record.record_id)}
            data = told.step_materialization_data._replace(
                materialization=materialization._replace(metadata=metadata)
            )
            told = told._replace(event_specific_data=data)
        instance.handle_new_event(
            event._replace(run_id=run.run_id, timestamp=time.time(), dagster_event=told)
        )


def ask_ledger(root: Path, graph: Graph) -> None:
    """Asks a ledger opened anew what a no-op run asks."""
    project = Project.open(root)
    for stage in graph.values():
        parents = find_parents(project, stage)
        recipe = make_recipe(stage, {name: parent.output.digest for name, parent in parents.items()})
        if project.ledger.find_head(stage.name) != next(project.ledger.find_recipe(recipe.digest)):
            raise RuntimeError(f"{stage.name} is not as the inputs want it: this would be no no-op")
        project.ledger.find_heads()


def measure(call: Callable[[], object], repeats: int) -> str:
    """Times a call: median wall time in seconds, from the shortest to the longest, and median processor time."""
    walls, processors = [], []
    for _ in range(repeats):
        started, before = time.perf_counter(), os.times()
        call()
        walls.append(time.perf_counter() - started)
        processors.append(sum(os.times()[:4]) - sum(before[:4]))
    wall, processor = statistics.median(walls), statistics.median(processors)
    return f"{wall:.2f} ({min(walls):.2f} to {max(walls):.2f}), {processor:.2f} computing"


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project")
        make_trained(root)
        finish(start_rlaif(root, "run"))
        project = Project.open(root)
        graph = project.build_graph()
        os.environ["DAGSTER_HOME"] = str(project.dagster_home)
        table = Table(
            "past materialisations", "rlaif run, s", "rlaif plan --json, s", "the ledger's share, s"
        )
        for size in sorted(arguments.sizes):
            lengthen_history(project, size)
            ask_ledger(root, graph)  # indexes what the lengthening wrote, as the runs would have done
            table.add_row(
                f"{len(list(project.ledger.folder.iterdir())):,}",
                measure(lambda: finish(start_rlaif(root, "run")), arguments.repeats),
                measure(lambda: finish(start_rlaif(root, "plan", "--json")), arguments.repeats),
                measure(lambda: ask_ledger(root, graph), arguments.repeats),
            )
        console.print(table)


if __name__ == "__main__":
    main()
