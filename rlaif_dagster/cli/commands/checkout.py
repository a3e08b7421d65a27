"""`rlaif checkout`: copies a past version, or the whole project as it was, into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, Section


def checkout(
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="ASSET@DIGEST; with --all a git revision."),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DEST", help="A folder that does not exist, or is empty.")
    ],
    whole: Annotated[
        bool, typer.Option("--all", help="Copy the whole project as it was at a revision.")
    ] = False,
    project: ProjectOption = Path(),
) -> None:
    """Copy a past version, or the whole project as it was, into a new folder; every byte is verified."""
    from rich.console import Console

    from rlaif_dagster.cli.bars import show_progress
    from rlaif_dagster.digest import Digest
    from rlaif_dagster.lineage.project import Project
    from rlaif_dagster.lineage.time_travel import checkout_project, checkout_version

    opened, console = Project.open(project, uses_remote=True), Console()
    if whole:
        with show_progress("rlaif checkout"):
            past = checkout_project(opened, version, folder)
        console.print(f"the project as it was at {version}: {past.root}", soft_wrap=True)
        console.print(
            f"  rlaif status --project {past.root}\n  rlaif chat --project {past.root}", soft_wrap=True
        )
    else:
        with show_progress("rlaif checkout"):
            record = checkout_version(opened, version, folder)
        name = f"{record.asset}@{Digest.parse(record.output.digest).short}"
        console.print(f"{name}, verified: {folder}", soft_wrap=True)


COMMAND = Command(function=checkout, section=Section.HISTORY)
