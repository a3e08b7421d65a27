"""`rlaif sign`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, ReleaseArgument, Section


def sign(
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Your private key (PEM); it is not stored.")
    ],
    release: ReleaseArgument = None,
    project: ProjectOption = Path(),
) -> None:
    """Sign a release: the policy's bytes, the reasons for the release, and the history up to it."""
    from rlaif_dagster.cli.sign import sign_command

    sign_command(project, release, key)


COMMAND = Command(function=sign, section=Section.RELEASES)
