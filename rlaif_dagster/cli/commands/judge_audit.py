"""`rlaif judge-audit`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, Section


def judge_audit(
    file: Annotated[
        Path, typer.Argument(metavar="VERDICTS.jsonl", help="Verdicts, one a line (docs/judge-audit.md).")
    ],
    project: Annotated[
        Path, typer.Option("--project", metavar="DIR", help="The folder that the file is relative to.")
    ] = Path(),
    json: JsonOption = False,
) -> None:
    """Measure how accurate, consistent, biased and calibrated the judges of a verdicts file are."""
    from rlaif_dagster.cli.judge_audit import judge_audit_command

    judge_audit_command(project / file, as_json=json)


COMMAND = Command(function=judge_audit, section=Section.JUDGE)
