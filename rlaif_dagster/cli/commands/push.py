"""`rlaif push`."""

from pathlib import Path

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def push(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """Send the ledger and every version that it names to the DVC remote.

    Exit code 0: everything is there; 1: a version is in neither place; 2: the push failed.
    """
    from rlaif_dagster.cli.share import push_command

    raise typer.Exit(push_command(project, as_json=json))


COMMAND = Command(function=push, section=Section.STORAGE, keeps_work=True)
