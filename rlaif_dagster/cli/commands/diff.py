"""`rlaif diff`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, RemoteOption, Section


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A", help="ASSET@DIGEST, DIGEST, release:NUMBER or a git revision (git:REV if ambiguous)."
        ),
    ],
    after: Annotated[
        str, typer.Argument(metavar="B", help="The version to compare with A, named in the same way.")
    ],
    *,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write the comparison as one HTML page."),
    ] = None,
) -> None:
    """Show what differs between two policies, releases or revisions, and which cause had which effect."""
    from rlaif_dagster.cli.diff import diff_command

    diff_command(project, before, after, remote=remote, as_json=json, html=html)


COMMAND = Command(function=diff, section=Section.HISTORY)
