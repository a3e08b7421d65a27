"""`rlaif run`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def run(
    assets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ASSET]...", help="Assets to bring up to date; default: all."),
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Bring assets, and everything they are made from, up to date with the inputs."""
    from rlaif_dagster.cli.run import run_command

    run_command(project, assets or [], as_json=json)


COMMAND = Command(function=run, section=Section.EVERYDAY, keeps_work=True)
