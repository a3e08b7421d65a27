"""`rlaif export`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, OutOption, ProjectOption, RemoteOption, Section


def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="ASSET or ASSET@DIGEST.")],
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="openlineage, prov, cyclonedx, croissant, intoto, model-card or dataset-card.",
        ),
    ],
    out: OutOption = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
) -> None:
    """Write what a version was made from, with every digest, in a format that other tools read."""
    from rlaif_dagster.cli.export import export_command

    export_command(project, version, format_name, out, remote=remote)


COMMAND = Command(function=export, section=Section.HISTORY)
