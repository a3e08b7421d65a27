"""`rlaif audit`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, JsonOption, ProjectOption, RemoteOption, Section


def audit(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[ASSET[@DIGEST]]",
            help="Audit only this version and what it was made from; default: everything.",
        ),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="A signer's public key (PEM), to verify signatures; can be repeated.",
        ),
    ] = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Re-hash every byte and compare ledger, store, data.dvc, data/ and Dagster's log. Change nothing.

    Exit code 0: everything agrees; 1: findings; 2: the audit could not run.
    """
    from rlaif_dagster.cli.audit import audit_command

    raise typer.Exit(audit_command(project, target, keys=key or (), remote=remote, as_json=json))


COMMAND = Command(function=audit, section=Section.HISTORY)
