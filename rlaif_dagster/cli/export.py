"""`rlaif export`: the lineage of a version in a format that other tools read."""

from pathlib import Path

import typer

from rlaif_dagster.errors import InputError
from rlaif_dagster.lineage.exporting.closure import VersionLineage
from rlaif_dagster.lineage.exporting.formats import FORMATS
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.scratch import raising_storage_errors


def export_command(root: Path, target: str, name: str, out: Path | None, *, remote: bool = False) -> None:
    """Writes the export to a file, or prints it.

    Raises:
        RlaifError: If there is no such version or format, or something that it needs is not available.
    """
    project = Project.open(root, uses_remote=remote)
    if name not in FORMATS:
        raise InputError(
            f"unknown format {name!r}",
            file=project.root,
            field="--format",
            remedy=f"name one of {', '.join(FORMATS)}",
        )
    text = FORMATS[name](VersionLineage.from_project(project, target))
    write_text(text, out)


def write_text(text: str, out: Path | None) -> None:
    """Writes a text to a file, or prints it if no file is named.

    Raises:
        StorageError: If the file cannot be written.
    """
    if out is None:
        typer.echo(text, nl=False)
        return
    with raising_storage_errors(out):
        out.write_text(text, encoding="utf-8")
