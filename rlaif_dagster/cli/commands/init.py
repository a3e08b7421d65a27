"""`rlaif init`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, Section


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist, or is empty.")],
    project: Annotated[
        Path, typer.Option("--project", metavar="DIR", help="The folder that DIR is relative to.")
    ] = Path(),
) -> None:
    """Make a new project: inputs to edit, workspace.yaml, git and DVC ready."""
    from rlaif_dagster.cli.init import init_command

    init_command(project / folder)


COMMAND = Command(function=init, section=Section.EVERYDAY)
