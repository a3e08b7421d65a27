"""`rlaif run`: bring assets up to date, show what happened and how good the policy is."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.bars import show_bars
from rlaif_dagster.cli.figures import show_figures
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import GateError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord


def run_command(root: Path, assets: Sequence[str], *, as_json: bool) -> None:
    """Brings assets up to date and prints a table of them.

    Raises:
        RlaifError: If the inputs are wrong or a stage fails.
    """
    console = Console(stderr=as_json)
    started = time.monotonic()
    project = Project.open(root)
    graph = project.build_graph()
    from rlaif_dagster.defs.execution import run_assets

    try:
        with show_bars(console) as progress:
            statuses = run_assets(project, graph, assets, progress=progress)
    except KeyboardInterrupt:
        console.print("stopped; what was finished is kept, and the next run goes on from there")
        raise typer.Exit(130) from None
    except GateError:
        show_figures(console, project, project.ledger.find_heads())
        raise
    heads = project.ledger.find_heads()
    console.print(_tabulate(statuses, heads))
    show_figures(console, project, {name: heads[name] for name in statuses})
    console.print(f"{time.monotonic() - started:.1f} s", style="dim")
    if as_json:
        typer.echo(
            json.dumps({"assets": {name: _describe(statuses[name], heads[name]) for name in statuses}})
        )


def _describe(status: str, record: MaterialisationRecord) -> dict[str, Any]:
    return {
        "status": status,
        "digest": record.output.digest,
        "dvc_md5": record.output.md5,
        "rows": record.rows,
    }


def _tabulate(statuses: Mapping[str, str], heads: Mapping[str, MaterialisationRecord]) -> Table:
    table = Table(title="Assets")
    for name in ("asset", "status", "rows", "digest"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for asset, status in statuses.items():
        record = heads[asset]
        table.add_row(
            asset,
            f"[green]{status}" if status == "computed" else status,
            "" if record.rows is None else f"{record.rows:,}",
            Digest.parse(record.output.digest).short,
        )
    return table
