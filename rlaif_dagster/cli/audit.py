"""`rlaif audit`: checks that all versions and records agree, byte for byte. Reads only."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.lineage.auditing.audit import audit_project
from rlaif_dagster.lineage.auditing.findings import AuditReport
from rlaif_dagster.lineage.project import Project


def audit_command(
    root: Path, target: str | None, *, keys: Sequence[Path], remote: bool = False, as_json: bool
) -> int:
    """Prints every finding; returns 0 if there is none, else 1.

    Raises:
        RlaifError: If the audit could not run.
    """
    project = Project.open(root, uses_remote=remote)
    events = None
    with show_progress("rlaif audit") as progress:
        if project.dagster_home.is_dir():
            from rlaif_dagster.defs.events import read_events

            events = read_events(project.dagster_home)
        report = audit_project(project, target=target, events=events, keys=keys, progress=progress)
    _show(Console(stderr=as_json), report)
    if as_json:
        typer.echo(json.dumps(describe_report(report)))
    return int(bool(report.findings))


def describe_report(report: AuditReport) -> dict[str, object]:
    """The report as JSON."""
    return {
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
        "skipped": list(report.skipped),
        "overrides": [dataclasses.asdict(use) for use in report.overrides],
        "pruned": [dataclasses.asdict(version) for version in report.pruned],
        "signatures": [dataclasses.asdict(signature) for signature in report.signatures],
        "records": report.num_records,
        "objects": report.num_objects,
        "bytes": report.num_bytes,
        "events": report.num_events,
    }


def _show(console: Console, report: AuditReport) -> None:
    for finding in report.findings:
        console.print(f"[red]{finding.kind}[/]  {escape(finding.place)}", soft_wrap=True)
        for name in ("found", "expected", "remedy"):
            console.print(f"  {name}: {escape(getattr(finding, name))}", soft_wrap=True, highlight=False)
    for use in report.overrides:
        withdrawn = " (withdrawn since)" if use.stands is False else ""
        words = f"{use.built} was built on {use.asset} {use.digest} although that failed {use.check}: {use.reason}"
        console.print(f"[yellow]overridden[/]  {escape(words)}{withdrawn}", soft_wrap=True, highlight=False)
    for version in report.pruned:
        words = (
            f"{version.version}: {version.when[:19]} UTC, by rlaif gc --keep {' --keep '.join(version.keep)}"
        )
        console.print(f"[yellow]pruned[/]  {escape(words)}", soft_wrap=True, highlight=False)
    for signature in report.signatures:
        state = {True: "[green]signature holds[/]", None: "[yellow]not verified[/]", False: "[red]broken[/]"}
        words = f"{signature.version} by the key {signature.key}" + f": {signature.note}" * bool(
            signature.note
        )
        console.print(f"{state[signature.holds]}  {escape(words)}", soft_wrap=True, highlight=False)
    for words in report.skipped:
        console.print(f"[yellow]not checked[/]  {escape(words)}", soft_wrap=True, highlight=False)
    counts = f"{report.num_records:,} records, {report.num_objects:,} objects, {report.num_bytes:,} bytes" + (
        "" if report.num_events is None else f", {report.num_events:,} events of Dagster"
    )
    verdict = f"[red]{len(report.findings)} findings[/]" if report.findings else "[green]no findings[/]"
    console.print(f"audited {counts}: {verdict}", soft_wrap=True)
