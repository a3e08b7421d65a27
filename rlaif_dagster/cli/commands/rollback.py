"""`rlaif rollback`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, ReasonOption, Section


def rollback(
    reason: ReasonOption,
    release: Annotated[
        str | None,
        typer.Argument(
            metavar="[RELEASE]",
            help="Its number, the first digits of its digest, or -N for the Nth before the current one; default: -1.",
        ),
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Return to an earlier release, and hold it until `rlaif release`; nothing is trained."""
    from rlaif_dagster.cli.release import rollback_command

    rollback_command(project, release, reason, as_json=json)


COMMAND = Command(function=rollback, section=Section.RELEASES, keeps_work=True, ignores_unknown_options=True)
