"""`rlaif pull`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def pull(
    heads: Annotated[
        bool, typer.Option("--heads", help="Only the newest version of each asset; others come when needed.")
    ] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Take over the ledger and the versions of the DVC remote, verified, and show the newest in data/.

    Exit code 0: all is here; 1: a version is in neither place; 2: it could not be done.
    """
    from rlaif_dagster.cli.share import pull_command

    raise typer.Exit(pull_command(project, heads_only=heads, as_json=json))


COMMAND = Command(function=pull, section=Section.STORAGE, keeps_work=True)
