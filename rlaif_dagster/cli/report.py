"""`rlaif report`: writes one page about a release, for people who do not read JSON."""

from pathlib import Path

from rlaif_dagster.cli.export import write_text
from rlaif_dagster.cli.sign import find_release
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reporting.page import report_release


def report_command(root: Path, target: str | None, out: Path | None, *, remote: bool = False) -> None:
    """Writes the page to a file, or prints it.

    Raises:
        RlaifError: If there is no such release, or its evaluation is not available.
    """
    project = Project.open(root, uses_remote=remote)
    write_text(report_release(project, find_release(project, target)), out)
