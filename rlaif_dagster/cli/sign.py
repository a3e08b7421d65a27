"""`rlaif sign` and `rlaif verify`: sign a release, and verify that it is still what was signed."""

import json
import os
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.markup import escape

from rlaif_dagster.errors import CorruptVersionError, InputError, LedgerError, SignatureError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.releases import Release, ReleaseHistory
from rlaif_dagster.lineage.signing import describe_verification, sign_release, verify_release

PASSWORD_VARIABLE: Final = "RLAIF_KEY_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable with the password of an encrypted private key."""


def sign_command(root: Path, target: str | None, key: Path) -> None:
    """Signs a release.

    Raises:
        RlaifError: If there is no such release, the key cannot be used, or a version is not available.
    """
    project = Project.open(root, uses_remote=True)
    release = find_release(project, target)
    password = os.environ.get(PASSWORD_VARIABLE)
    signature = sign_release(project, release, key, password=password.encode() if password else None)
    Console().print(
        f"release {release.number} ({release.digest.short}) is signed with the key {signature.key.short}: "
        f"{escape(str(signature.path.relative_to(project.root)))}",
        soft_wrap=True,
        highlight=False,
    )


def verify_command(root: Path, target: str | None, key: Path, *, remote: bool = False, as_json: bool) -> int:
    """Verifies a release and prints what that proves; returns 0 if the signature holds, else 1.

    Raises:
        RlaifError: If verification is not possible: no such release, no usable key, or a version that is not available.
    """
    project = Project.open(root, uses_remote=remote)
    console = Console(stderr=as_json)
    try:
        release = find_release(project, target)
        verification = verify_release(project, release, key)
    except (SignatureError, CorruptVersionError, LedgerError) as error:
        console.print(f"[red]does not hold[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
        return 1
    facts = describe_verification(release, verification)
    console.print(
        f"[green]holds[/]: release {release.number} ({release.digest.short})\n"
        f"  Whoever has the private key of {facts['key']} signed\n"
        f"  - the policy {release.policy}, byte for byte: {facts['num_files']} files, {facts['num_bytes']:,} bytes\n"
        "  - the reasons for the release: its checks, its evaluation, and the versions that it was made from\n"
        f"  - the history up to it: {facts['num_records']} lineage records, each named by the next\n"
        "  Not proved: whose key it is, and that what was recorded was true when it was recorded.",
        soft_wrap=True,
        highlight=False,
    )
    if as_json:
        typer.echo(json.dumps(facts))
    return 0


def find_release(project: Project, target: str | None) -> Release:
    """Finds the release that the user names; the current one if none is named.

    Raises:
        InputError: If there is no such release.
    """
    history = ReleaseHistory.from_records(project.ledger.records())
    if target is not None:
        return history.find(target, root=project.root)
    if history.current is None:
        raise InputError(
            "nothing has been released yet",
            file=project.root,
            remedy="`rlaif run` releases what passes its checks",
        )
    return history.current
