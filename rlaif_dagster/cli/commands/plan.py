"""`rlaif plan`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def plan(
    assets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ASSET]...", help="Assets to plan for; default: all."),
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Show what a run would do, why, and what it would cost; change nothing."""
    from rlaif_dagster.cli.plan import plan_command

    plan_command(project, assets or [], as_json=json)


COMMAND = Command(function=plan, section=Section.EVERYDAY)
