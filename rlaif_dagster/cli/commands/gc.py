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
            help="What to keep beside the newest versions, releases and pins, which always stay: releases (no more), "
            "last:N, days:N or ASSET@DIGEST; may be given several times.",
        ),
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without this, only say what would go.")
    ] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Say which stored versions nothing needs any more, and give them up with --apply; the remote stays as it is."""
    from rlaif_dagster.cli.gc import gc_command

    gc_command(project, keep, apply=apply, as_json=json)


COMMAND = Command(function=gc, section=Section.STORAGE, keeps_work=True)
