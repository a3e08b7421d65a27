"""`rlaif ui`: starts the Dagster UI and daemon of a project, on loopback; they replace this process."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, Section


def ui(
    project: ProjectOption = Path(),
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 3000,
) -> None:
    """Open the project in the Dagster UI, on this machine only."""
    from rich.console import Console

    from rlaif_dagster.defs.execution import prepare_dagster_home
    from rlaif_dagster.lineage.project import Project

    opened = Project.open(project)
    prepare_dagster_home(opened)
    Console().print(f"Dagster UI: http://127.0.0.1:{port}  (stop it with Ctrl-C)", soft_wrap=True)
    sys.stdout.flush()
    os.chdir(opened.root)
    arguments = ["-m", "rlaif_dagster.definitions", "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *arguments])  # noqa: S606 - no shell


COMMAND = Command(function=ui, section=Section.EVERYDAY)
