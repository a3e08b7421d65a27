"""`rlaif trace`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, RemoteOption, Section


def trace(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help="ASSET, ASSET@DIGEST, pair:ID, response:ID, principle:ID or judge:NAME.",
        ),
    ],
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Show what something was made from, and what was made or learned from it."""
    from rlaif_dagster.cli.trace import trace_command

    trace_command(project, subject, remote=remote, as_json=json)


COMMAND = Command(function=trace, section=Section.HISTORY)
