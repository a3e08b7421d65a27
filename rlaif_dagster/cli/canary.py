"""`rlaif canary`: checks whether the judge still answers as before."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.names import CANARY_JSON, JUDGE_CANARY


def canary_command(root: Path, *, as_json: bool) -> None:
    """Asks the canary's questions again and prints, for each judge, how many verdicts changed.

    Raises:
        GateError: If too many changed.
        MissingInputError: If nothing has been judged yet.
        RlaifError: If the inputs are wrong or the judge cannot be asked.
    """
    project = Project.open(root, uses_remote=True)
    with show_progress("rlaif canary") as progress:
        from rlaif_dagster.defs.execution import run_canary

        run_canary(project, project.build_graph(), progress=progress)
    found = json.loads((project.root / "data" / JUDGE_CANARY / CANARY_JSON).read_bytes())
    Console(stderr=as_json).print(_tabulate(found["judges"]))
    if as_json:
        typer.echo(json.dumps(found))


def _tabulate(judges: dict[str, Any]) -> Table:
    table = Table(title="Canary: the same questions again")
    table.add_column("judge")
    for name in ("questions", "changed", "95 % interval", "mean shift"):
        table.add_column(name, justify="right")
    for judge, found in judges.items():
        changed = found["changed"]
        measured = changed["value"] is not None
        table.add_row(
            escape(judge),
            str(changed["n"]),
            f"{100 * changed['value']:.1f} %" if measured else "not measured",
            f"{100 * changed['low']:.1f} to {100 * changed['high']:.1f} %" if measured else "",
            f"{found['mean_shift']:.4f}" if measured else "",
        )
    return table
