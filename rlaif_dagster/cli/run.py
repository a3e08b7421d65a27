"""`rlaif run`: brings assets up to date, shows what happened and how good the policy is."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.cli.figures import show_figures
from rlaif_dagster.cli.plan import describe_price, word_range
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import GateError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.price import Price
from rlaif_dagster.lineage.exporting.sending import URL
from rlaif_dagster.lineage.gates import list_failed
from rlaif_dagster.lineage.plan import Plan, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import confirm
from rlaif_dagster.lineage.running import has_unburied_runs, hold_run
from rlaif_dagster.lineage.told import find_dagster_home, was_told
from rlaif_dagster.progress import RunProgress

SPENT: Final = {"rows_sampled": "num_sampled", "judge_calls": "judge_calls_asked"}
"""Each quantity that a plan predicts, and the count in the record that says what was spent."""


def run_command(root: Path, assets: Sequence[str], *, as_json: bool) -> None:
    """Brings assets up to date and prints a table of them.

    Raises:
        RlaifError: If the inputs are wrong or a stage fails.
    """
    console = Console(stderr=as_json)
    started = time.monotonic()
    project = Project.open(root, uses_remote=True)
    try:
        with show_progress("rlaif run") as progress:
            graph = project.build_graph()
            plan = make_plan(project, graph, assets)
            statuses = _confirm(project, graph, plan, progress)
            if statuses is None:
                from rlaif_dagster.defs.execution import run_assets

                statuses = run_assets(project, graph, assets, progress=progress)
    except GateError:
        show_figures(console, project, project.ledger.find_heads())
        raise
    heads = project.ledger.find_heads()
    planned = {item.asset: item.price for item in plan.assets}
    console.print(_tabulate(statuses, heads, planned))
    show_figures(console, project, {name: heads[name] for name in statuses})
    console.print(f"{time.monotonic() - started:.1f} s", style="dim")
    if as_json:
        typer.echo(
            json.dumps(
                {"assets": {name: _describe(statuses[name], heads[name], planned[name]) for name in statuses}}
            )
        )


def _confirm(project: Project, graph: Graph, plan: Plan, progress: RunProgress) -> dict[str, str] | None:
    """Confirms that there is nothing to do, without importing Dagster, which takes longer than the whole check.

    Returns:
        What `run_assets` returns. None if `run_assets` is needed: an asset has to be made, a check failed, or Dagster
        or an OpenLineage server has to be told something.
    """
    heads = project.ledger.find_heads()
    records = [heads[item.asset] for item in plan.fresh]
    if (
        plan.stale
        or URL in os.environ
        or has_unburied_runs(project)
        or not was_told(project, find_dagster_home(project), records)
        or any(
            check.blocking
            for record in records
            for check in list_failed(graph[record.asset], record.output.digest, record.checks)
        )
    ):
        return None
    statuses = {}
    with hold_run(project, "confirm"):
        for record in records:
            progress.start_asset(record.asset)
            if confirm(project, graph[record.asset]) is None:
                return None
            progress.finish_asset(record.asset, "reused", record.rows)
            statuses[record.asset] = "reused"
    return statuses


def _describe(status: str, record: MaterialisationRecord, planned: Price) -> dict[str, Any]:
    return {
        "status": status,
        "digest": record.output.digest,
        "dvc_md5": record.output.md5,
        "rows": record.rows,
        "planned": describe_price(planned),
        "actual": {name: _count_spent(status, record, count) for name, count in SPENT.items()},
    }


def _tabulate(
    statuses: Mapping[str, str],
    heads: Mapping[str, MaterialisationRecord],
    planned: Mapping[str, Price],
) -> Table:
    table = Table(title="Assets")
    for name in ("asset", "status", "rows", "sampled (planned)", "verdicts asked (planned)", "digest"):
        table.add_column(
            name,
            justify="left" if name in ("asset", "status", "digest") else "right",
            no_wrap=name in ("asset", "digest"),
        )
    for asset, status in statuses.items():
        record = heads[asset]
        price = planned[asset]
        spent = [
            "" if span.max == 0 else f"{_count_spent(status, record, count):,} ({word_range(span)})"
            for count, span in (
                (SPENT["rows_sampled"], price.rows_sampled),
                (SPENT["judge_calls"], price.judge_calls),
            )
        ]
        table.add_row(
            asset,
            "[yellow]not made"
            if record.is_stopped
            else f"[green]{status}"
            if status == "computed"
            else status,
            "" if record.rows is None else f"{record.rows:,}",
            *spent,
            Digest.parse(record.output.digest).short,
        )
    return table


def _count_spent(status: str, record: MaterialisationRecord, count: str) -> int:
    """Counts what this run spent on an asset: nothing unless the asset was made in this run."""
    return record.counts.get(count, 0) if status == "computed" else 0
