"""The `rlaif` command."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rlaif_dagster.cli.stopping import StoppableCommands
from rlaif_dagster.errors import RlaifError

EXIT_ERROR = 2
"""Exit code when something is wrong that the user can fix; nothing was changed."""
EXIT_UNEXPECTED = 1
"""Exit code of an unexpected error."""

app = typer.Typer(
    name="rlaif",
    cls=StoppableCommands,
    help="Reinforcement learning from AI feedback that can be rebuilt and audited.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Invocation:
    """What `main` needs to know about a command that failed.

    Attributes:
        project: The project's folder.
    """

    def __init__(self) -> None:
        self.project = Path()


def _remember_project(context: typer.Context, project: Path) -> Path:
    if isinstance(context.obj, Invocation):
        context.obj.project = project
    return project


ProjectOption = Annotated[
    Path,
    typer.Option(
        "--project",
        metavar="DIR",
        help="The project's folder.",
        show_default=True,
        callback=_remember_project,
    ),
]


def _require_reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter(
            "the reason is empty: write why, for the person who reads the record in a year"
        )
    return text


ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.", callback=_require_reason)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, as the last line.")]
RemoteOption = Annotated[
    bool, typer.Option("--remote", help="Allow reading from the DVC remote what is missing locally.")
]


@app.command()
def run(
    assets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ASSET]...", help="Assets to bring up to date; default: all."),
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Bring assets, and everything they are made from, up to date with the inputs."""
    from rlaif_dagster.cli.run import run_command

    run_command(project, assets or [], as_json=json)


@app.command()
def plan(
    assets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ASSET]...", help="Assets to plan for; default: all."),
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Show what a run would do, why, and what it would cost; change nothing."""
    from rlaif_dagster.cli.plan import plan_command

    plan_command(project, assets or [], as_json=json)


@app.command()
def status(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """Show the newest version of every asset, its figures and its checks."""
    from rlaif_dagster.cli.status import status_command

    status_command(project, as_json=json)


@app.command()
def releases(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """List the released policies: when and why each was released, and which one is current."""
    from rlaif_dagster.cli.release import releases_command

    releases_command(project, as_json=json)


@app.command(context_settings={"ignore_unknown_options": True})
def rollback(
    reason: ReasonOption,
    release: Annotated[
        str | None,
        typer.Argument(
            metavar="[RELEASE]",
            help="Its number, the first digits of its digest, or -N for the Nth before the current one; default: -1.",
        ),
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Return to an earlier release, and hold it until `rlaif release`; nothing is trained."""
    from rlaif_dagster.cli.release import rollback_command

    rollback_command(project, release, reason, as_json=json)


@app.command()
def release(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """End the hold of a rollback, and release the newest evaluated policy."""
    from rlaif_dagster.cli.release import release_command

    release_command(project, as_json=json)


ReleaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RELEASE]",
        help="Its number, or the first digits of its digest; default: the current release.",
    ),
]


@app.command()
def sign(
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Your private key (PEM); it is not stored.")
    ],
    release: ReleaseArgument = None,
    project: ProjectOption = Path(),
) -> None:
    """Sign a release: the policy's bytes, the reasons for the release, and the history up to it."""
    from rlaif_dagster.cli.sign import sign_command

    sign_command(project, release, key)


@app.command()
def verify(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The signer's public key (PEM).")],
    release: ReleaseArgument = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Verify who signed a release and that it is unchanged since; say what that proves.

    Exit code 0: the signature holds; 1: it does not; 2: it could not be verified.
    """
    from rlaif_dagster.cli.sign import verify_command

    raise typer.Exit(verify_command(project, release, key, remote=remote, as_json=json))


@app.command()
def report(
    release: ReleaseArgument = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write; default: print it.")
    ] = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
) -> None:
    """Write one self-contained HTML page about a release, which says how to verify each figure."""
    from rlaif_dagster.cli.report import report_command

    report_command(project, release, out, remote=remote)


@app.command()
def override(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The asset that failed a check.")],
    check: Annotated[str, typer.Argument(metavar="CHECK", help="The check.")],
    reason: ReasonOption,
    project: ProjectOption = Path(),
) -> None:
    """Let an asset's newest version pass a failed check. The record of everything built on it says so."""
    from rlaif_dagster.cli.release import override_command

    override_command(project, asset, check, reason)


@app.command()
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


@app.command()
def checkout(
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="ASSET@DIGEST; with --all a git revision."),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DEST", help="A folder that does not exist, or is empty.")
    ],
    whole: Annotated[
        bool, typer.Option("--all", help="Copy the whole project as it was at a revision.")
    ] = False,
    project: ProjectOption = Path(),
) -> None:
    """Copy a past version, or the whole project as it was, into a new folder; every byte is verified."""
    from rlaif_dagster.cli.checkout import checkout_command

    checkout_command(project, version, folder, whole=whole)


@app.command()
def gc(
    keep: Annotated[
        list[str],
        typer.Option(
            metavar="RULE",
            help="What to keep in addition to the newest versions, releases and pins, which always stay: releases "
            "(nothing more), last:N, days:N or ASSET@DIGEST; can be repeated.",
        ),
    ],
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Remove the versions; without this, only print what would be removed."),
    ] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """List the stored versions that nothing needs, and prune them with --apply. The remote is not changed."""
    from rlaif_dagster.cli.gc import gc_command

    gc_command(project, keep, apply=apply, as_json=json)


@app.command()
def push(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """Send the ledger and every version that it names to the DVC remote.

    Exit code 0: everything is there; 1: a version is in neither place; 2: the push failed.
    """
    from rlaif_dagster.cli.share import push_command

    raise typer.Exit(push_command(project, as_json=json))


@app.command()
def pull(
    heads: Annotated[
        bool,
        typer.Option(
            "--heads", help="Fetch only each asset's newest version; others are fetched when needed."
        ),
    ] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Fetch the ledger and the versions from the DVC remote, verify them, and put the newest in data/.

    Exit code 0: everything is here; 1: a version is in neither place; 2: the pull failed.
    """
    from rlaif_dagster.cli.share import pull_command

    raise typer.Exit(pull_command(project, heads_only=heads, as_json=json))


@app.command()
def trace(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help="ASSET, ASSET@DIGEST, pair:ID, response:ID, principle:ID or judge:NAME.",
        ),
    ],
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Show what something was made from, and what was made or learned from it."""
    from rlaif_dagster.cli.trace import trace_command

    trace_command(project, subject, remote=remote, as_json=json)


@app.command()
def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A", help="ASSET@DIGEST, DIGEST, release:NUMBER or a git revision (git:REV if ambiguous)."
        ),
    ],
    after: Annotated[
        str, typer.Argument(metavar="B", help="The version to compare with A, named in the same way.")
    ],
    *,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    json: JsonOption = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write the comparison as one HTML page."),
    ] = None,
) -> None:
    """Show what differs between two policies, releases or revisions, and which cause had which effect."""
    from rlaif_dagster.cli.diff import diff_command

    diff_command(project, before, after, remote=remote, as_json=json, html=html)


@app.command()
def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="ASSET or ASSET@DIGEST.")],
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="openlineage, prov, cyclonedx, croissant, intoto, model-card or dataset-card.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write; default: print it.")
    ] = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
) -> None:
    """Write what a version was made from, with every digest, in a format that other tools read."""
    from rlaif_dagster.cli.export import export_command

    export_command(project, version, format_name, out, remote=remote)


@app.command()
def doctor(project: ProjectOption = Path()) -> None:
    """Say what is wrong with the install or the project, and how to fix it."""
    from rlaif_dagster.cli.doctor import doctor_command

    raise typer.Exit(doctor_command(project))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist, or is empty.")],
    project: Annotated[
        Path, typer.Option("--project", metavar="DIR", help="The folder that DIR is relative to.")
    ] = Path(),
) -> None:
    """Make a new project: inputs to edit, workspace.yaml, git and DVC ready."""
    from rlaif_dagster.cli.init import init_command

    init_command(project / folder)


@app.command()
def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="One prompt; default: a conversation.")
    ] = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=5.0, help="0 always takes the most likely token.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The seed for a temperature above 0.")] = 0,
) -> None:
    """Talk to the base and the aligned policy side by side, and to the released one if it differs."""
    from rlaif_dagster.cli.chat import chat_command

    chat_command(
        project, " ".join(prompt) if prompt else None, remote=remote, temperature=temperature, seed=seed
    )


@app.command()
def canary(project: ProjectOption = Path(), json: JsonOption = False) -> None:
    """Ask the judge a fixed set of its questions again, and say whether it still answers as before."""
    from rlaif_dagster.cli.canary import canary_command

    canary_command(project, as_json=json)


@app.command("judge-audit")
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


@app.command()
def ui(
    project: ProjectOption = Path(),
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 3000,
) -> None:
    """Open the project in the Dagster UI, on this machine only."""
    from rlaif_dagster.cli.ui import ui_command

    ui_command(project, port=port)


def main() -> None:
    """Runs the command. An error becomes a message and an exit code, never a traceback."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    invocation = Invocation()
    try:
        app(obj=invocation)
    except RlaifError as error:
        _fail(f"error: {error}", EXIT_ERROR)
    except Exception as error:  # the one place where any error becomes a line and a log
        from rlaif_dagster.cli.unexpected import DEBUG_VARIABLE, find_own_error, report_unexpected

        if os.environ.get(DEBUG_VARIABLE):
            raise
        if own := find_own_error(error):
            _fail(f"error: {own}", EXIT_ERROR)
        _fail(report_unexpected(error, invocation.project), EXIT_UNEXPECTED)


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201 - the command's own error stream
    sys.exit(code)


if __name__ == "__main__":
    main()
