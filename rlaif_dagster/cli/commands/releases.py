"""`rlaif releases`."""

from pathlib import Path

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def releases(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """List the released policies: when and why each was released, and which one is current."""
    from rlaif_dagster.cli.release import releases_command

    releases_command(project, as_json=json)


COMMAND = Command(function=releases, section=Section.RELEASES)
