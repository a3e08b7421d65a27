"""`rlaif status`: shows the newest version of every asset."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlaif_dagster.cli.figures import show_drifts, show_figures
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import MissingPlugInError
from rlaif_dagster.lineage.drift import describe_drifts, find_drifts
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project


def status_command(root: Path, *, as_json: bool) -> None:
    """Prints each asset's newest version and whether it is up to date with the inputs.

    Without a plug-in that the inputs name, the versions are printed, and a word on what to install.

    Raises:
        RlaifError: If the inputs or the ledger are wrong.
    """
    project = Project.open(root)
    heads = project.ledger.find_heads()
    problem = None
    try:
        graph = project.build_graph()
        fresh = {item.asset for item in make_plan(project, graph, priced=False).fresh}
        states = {
            name: "missing" if name not in heads else "fresh" if name in fresh else "stale" for name in graph
        }
    except MissingPlugInError as error:  # what was made can be shown without it
        problem, states = str(error), dict.fromkeys(heads, "unknown")
    table = Table(title=f"Project {project.root.name}")
    for column in ("asset", "state", "rows", "digest", "made (UTC)", "checks"):
        table.add_column(column, justify="right" if column == "rows" else "left", no_wrap=column == "asset")
    for name, state in states.items():
        record = heads.get(name)
        if record is None:
            table.add_row(name, f"[red]{state}")
            continue
        failed = [check.name for check in record.checks if not check.passed]
        table.add_row(
            name,
            (f"[green]{state}" if state == "fresh" else f"[yellow]{state}")
            + ", not made" * record.is_stopped,
            "" if record.rows is None else f"{record.rows:,}",
            Digest.parse(record.output.digest).short,
            f"{record.ended_at:%Y-%m-%d %H:%M}",
            "failed: " + ", ".join(failed) if failed else f"{len(record.checks)} passed",
        )
    console = Console(stderr=as_json)
    console.print(table)
    if problem is not None:
        console.print(
            f"[yellow]the states are unknown[/]  {escape(problem)}", soft_wrap=True, highlight=False
        )
    show_figures(console, project, heads)
    drifts = find_drifts(project.ledger)
    show_drifts(console, drifts, heads)
    if as_json:
        described = {
            name: {
                "state": state,
                "digest": heads[name].output.digest if name in heads else None,
                "record": heads[name].record_id if name in heads else None,
                "overrides": [o.model_dump() for o in heads[name].overrides] if name in heads else [],
                "reason": heads[name].reason if name in heads else None,
            }
            for name, state in states.items()
        }
        drifted = describe_drifts(drifts, heads)
        typer.echo(json.dumps({"assets": described, "drifts": drifted, "problem": problem}))
