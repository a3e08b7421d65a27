"""`rlaif doctor`."""

from pathlib import Path

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, Section


def doctor(project: ProjectOption = Path()) -> None:
    """Say what is wrong with the install or the project, and how to fix it."""
    from rlaif_dagster.cli.doctor import doctor_command

    raise typer.Exit(doctor_command(project))


COMMAND = Command(function=doctor, section=Section.EVERYDAY)
