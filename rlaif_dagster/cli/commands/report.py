"""`rlaif report`."""

from pathlib import Path

from rlaif_dagster.cli.command import (
    Command,
    OutOption,
    ProjectOption,
    ReleaseArgument,
    RemoteOption,
    Section,
)


def report(
    release: ReleaseArgument = None,
    out: OutOption = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
) -> None:
    """Write one self-contained HTML page about a release, which says how to verify each figure."""
    from rlaif_dagster.cli.report import report_command

    report_command(project, release, out, remote=remote)


COMMAND = Command(function=report, section=Section.RELEASES)
