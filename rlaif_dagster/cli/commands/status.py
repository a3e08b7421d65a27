"""`rlaif status`."""

from pathlib import Path

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def status(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """Show the newest version of every asset, its figures and its checks."""
    from rlaif_dagster.cli.status import status_command

    status_command(project, as_json=json)


COMMAND = Command(function=status, section=Section.EVERYDAY)
