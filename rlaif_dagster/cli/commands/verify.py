"""`rlaif verify`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import (
    Command,
    JsonOption,
    ProjectOption,
    ReleaseArgument,
    RemoteOption,
    Section,
)


def verify(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The signer's public key (PEM).")],
    release: ReleaseArgument = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Verify who signed a release and that it is unchanged since; say what that proves.

    Exit code 0: the signature holds; 1: it does not; 2: it could not be verified.
    """
    from rlaif_dagster.cli.sign import verify_command

    raise typer.Exit(verify_command(project, release, key, remote=remote, as_json=json))


COMMAND = Command(function=verify, section=Section.RELEASES)
