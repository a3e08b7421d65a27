"""`rlaif pull`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def pull(
    heads: Annotated[
        bool,
        typer.Option(
            "--heads", help="Fetch only each asset's newest version; others are fetched when needed."
        ),
    ] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Fetch the ledger and the versions from the DVC remote, verify them, and put the newest in data/.

    Exit code 0: everything is here; 1: a version is in neither place; 2: the pull failed.
    """
    from rlaif_dagster.cli.share import pull_command

    raise typer.Exit(pull_command(project, heads_only=heads, as_json=json))


COMMAND = Command(function=pull, section=Section.STORAGE, keeps_work=True)
