"""`rlaif ui`: starts the Dagster UI and daemon of a project, on loopback."""

import os
import sys
from pathlib import Path

from rich.console import Console

from rlaif_dagster.defs.execution import prepare_dagster_home
from rlaif_dagster.lineage.project import Project


def ui_command(root: Path, *, port: int) -> None:
    """Replaces this process by `dagster dev` on 127.0.0.1.

    Raises:
        InputError: If the folder is not a project.
    """
    project = Project.open(root)
    prepare_dagster_home(project)
    Console().print(f"Dagster UI: http://127.0.0.1:{port}  (stop it with Ctrl-C)", soft_wrap=True)
    sys.stdout.flush()
    os.chdir(project.root)
    arguments = [
        "-m",
        "dagster",
        "dev",
        "-m",
        "rlaif_dagster.definitions",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - no shell
