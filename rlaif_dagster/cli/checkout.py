"""`rlaif checkout`: copies a past version, or the whole project as it was, into a folder."""

from pathlib import Path

from rich.console import Console

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.digest import Digest
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.time_travel import checkout_project, checkout_version


def checkout_command(root: Path, version: str, folder: Path, *, whole: bool) -> None:
    """Copies the version and prints what it is.

    Raises:
        RlaifError: If the version does not exist or is not available, or the folder exists already.
    """
    project = Project.open(root, uses_remote=True)
    console = Console()
    if whole:
        with show_progress("rlaif checkout"):
            past = checkout_project(project, version, folder)
        console.print(f"the project as it was at {version}: {past.root}", soft_wrap=True)
        console.print(
            f"  rlaif status --project {past.root}\n  rlaif chat --project {past.root}", soft_wrap=True
        )
    else:
        with show_progress("rlaif checkout"):
            record = checkout_version(project, version, folder)
        name = f"{record.asset}@{Digest.parse(record.output.digest).short}"
        console.print(f"{name}, verified: {folder}", soft_wrap=True)
