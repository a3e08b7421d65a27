"""`rlaif push` and `rlaif pull`: share ledger and versions over the DVC remote."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.sharing import ShareResult, pull_project, push_project
from rlaif_dagster.progress import Progress


def push_command(root: Path, *, as_json: bool) -> int:
    """Sends everything that the ledger names; returns 1 if a version is in neither place, else 0.

    Raises:
        RlaifError: If something is damaged, or the remote cannot be written.
    """
    return _share(root, push_project, "rlaif push", "sent to", as_json=as_json)


def pull_command(root: Path, *, heads_only: bool, as_json: bool) -> int:
    """Fetches what the remote has; returns 1 if a version is in neither place, else 0.

    Raises:
        RlaifError: If something is damaged, or the remote cannot be read.
    """

    def pull(project: Project, *, progress: Progress) -> ShareResult:
        return pull_project(project, heads_only=heads_only, progress=progress)

    return _share(root, pull, "rlaif pull", "fetched from", as_json=as_json)


def _share(root: Path, move: Callable[..., ShareResult], title: str, word: str, *, as_json: bool) -> int:
    project = Project.open(root)
    with show_progress(title) as progress:
        result = move(project, progress=progress)
    console = Console(stderr=as_json)
    console.print(
        f"{result.num_records:,} records {word} {result.remote}; "
        f"{result.num_versions:,} versions are complete on both sides",
        soft_wrap=True,
    )
    for name in result.lost:
        console.print(f"[yellow]in neither place[/]  {name}", soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(asdict(result)))
    return int(bool(result.lost))
