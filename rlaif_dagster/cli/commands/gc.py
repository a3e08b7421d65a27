"""`rlaif gc`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def gc(
    keep: Annotated[
        list[str],
        typer.Option(
            metavar="RULE",
            help="What to keep in addition to the newest versions, releases and pins, which always stay: releases "
            "(nothing more), last:N, days:N or ASSET@DIGEST; can be repeated.",
        ),
    ],
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Remove the versions; without this, only print what would be removed."),
    ] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """List the stored versions that nothing needs, and prune them with --apply. The remote is not changed."""
    from rlaif_dagster.cli.gc import gc_command

    gc_command(project, keep, apply=apply, as_json=json)


COMMAND = Command(function=gc, section=Section.STORAGE, keeps_work=True)
