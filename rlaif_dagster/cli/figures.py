"""The figures that tell how good a policy is, as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord


def show_figures(console: Console, project: Project, heads: Mapping[str, MaterialisationRecord]) -> None:
    """Prints the figures of the newest reward model and evaluation, and the checks that failed."""
    table = Table(title="Result")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval or base", justify="right")
    for asset in ("reward_model", "evaluation"):
        if asset in heads:
            for name, value, note in _list_figures(heads[asset].metrics):
                table.add_row(name, value, note)
    if table.row_count:
        console.print(table)
    for asset, record in heads.items():
        for check in record.checks:
            if not check.passed:
                weight = "blocking check" if check.blocking else "check"
                console.print(f"[red]failed {weight}[/] {asset}: {check.name} {check.facts}")
    report = project.root / "data" / "evaluation" / "report.html"
    if report.is_file():
        console.print(f"Report: {report}", soft_wrap=True)


def _list_figures(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    figures = []
    for name, value in metrics.items():
        if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
            figures.append(
                (name, _round(value["value"]), f"{_round(value['low'])} to {_round(value['high'])}")
            )
        elif isinstance(value, int | float):
            figures.append((name, _round(value), ""))
    return [(name.replace("_", " "), value, note) for name, value, note in figures]


def _round(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
