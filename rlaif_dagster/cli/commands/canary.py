"""`rlaif canary`."""

from pathlib import Path

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, Section


def canary(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """Ask the judge a fixed set of its questions again, and say whether it still answers as before."""
    from rlaif_dagster.cli.canary import canary_command

    canary_command(project, as_json=json)


COMMAND = Command(function=canary, section=Section.JUDGE, keeps_work=True)
