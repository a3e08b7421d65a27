"""`rlaif release`."""

from pathlib import Path

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def release(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """End the hold of a rollback, and release the newest evaluated policy."""
    from rlaif_dagster.cli.release import release_command

    release_command(project, as_json=json)


COMMAND = Command(function=release, section=Section.RELEASES, keeps_work=True)
