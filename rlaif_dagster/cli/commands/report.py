"""`rlaif report`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, ReleaseArgument, RemoteOption, Section


def report(
    release: ReleaseArgument = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write; default: print it.")
    ] = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
) -> None:
    """Write one self-contained HTML page about a release, which says how to verify each figure."""
    from rlaif_dagster.cli.report import report_command

    report_command(project, release, out, remote=remote)


COMMAND = Command(function=report, section=Section.RELEASES)
