"""`rlaif override`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, ReasonOption, Section


def override(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The asset that failed a check.")],
    check: Annotated[str, typer.Argument(metavar="CHECK", help="The check.")],
    reason: ReasonOption,
    project: ProjectOption = Path(),
) -> None:
    """Let an asset's newest version pass a failed check. The record of everything built on it says so."""
    from rlaif_dagster.cli.release import override_command

    override_command(project, asset, check, reason)


COMMAND = Command(function=override, section=Section.RELEASES)
