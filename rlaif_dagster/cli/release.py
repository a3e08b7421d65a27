"""`rlaif releases`, `rollback`, `release` and `override`: which policy is released, and why."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.inputs.overrides import OVERRIDES_FILE
from rlaif_dagster.inputs.release import RELEASE_FILE, Hold
from rlaif_dagster.lineage.decisions import add_override, make_hold, write_hold
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.releases import Release, ReleaseHistory, require_sound
from rlaif_dagster.lineage.reuse import find_parents
from rlaif_dagster.lineage.running import hold_run
from rlaif_dagster.names import RELEASED_POLICY
from rlaif_dagster.progress import ignore_progress


def releases_command(root: Path, *, as_json: bool) -> None:
    """Prints every release and every rollback.

    Raises:
        RlaifError: If the ledger is damaged.
    """
    history = ReleaseHistory.from_records(Project.open(root).ledger.records())
    console = Console(stderr=as_json)
    if not history.releases:
        console.print("nothing has been released yet")
    _show(console, history)
    for rollback in history.rollbacks:
        console.print(
            f"{rollback.when:%Y-%m-%d %H:%M} rolled back to {rollback.digest.short}: {escape(rollback.reason)}",
            soft_wrap=True,
            highlight=False,
        )
    if as_json:
        typer.echo(json.dumps(_describe(history)))


def rollback_command(root: Path, target: str | None, reason: str, *, as_json: bool) -> None:
    """Goes back to an earlier release, and holds it.

    Raises:
        RlaifError: If the release is unknown or damaged, or the inputs are wrong. Then nothing is changed.
    """
    project = Project.open(root, uses_remote=True)
    with hold_run(project, "rollback"):
        inputs = project.read_inputs()
        history = ReleaseHistory.from_records(project.ledger.records())
        release = history.find(target, root=project.root)
        require_sound(project, release)
        hold = make_hold(project, str(release.digest), reason)
        _decide(project, build_graph(replace(inputs, hold=hold)), hold, as_json=as_json)


def release_command(root: Path, *, as_json: bool) -> None:
    """Ends the hold, and releases the newest policy that was evaluated.

    Raises:
        RlaifError: If that policy failed a required check, or the inputs are wrong. Then nothing is changed.
    """
    project = Project.open(root, uses_remote=True)
    with hold_run(project, "release"):
        hold = Hold(file=project.root / RELEASE_FILE, settings=None)
        graph = build_graph(replace(project.read_inputs(), hold=hold))
        find_parents(project, graph[RELEASED_POLICY])
        _decide(project, graph, hold, as_json=as_json)


def override_command(root: Path, asset: str, check: str, reason: str) -> None:
    """Lets an asset's newest version pass a failed check.

    Raises:
        RlaifError: If that check did not fail. Then nothing is changed.
    """
    project = Project.open(root)
    override = add_override(project, project.build_graph(), asset, check, reason)
    Console().print(
        f"{OVERRIDES_FILE}: {asset} {override.digest} passes {check}. `rlaif run` continues from there; the record of "
        "everything built on this version says so.",
        soft_wrap=True,
        highlight=False,
    )


def _decide(project: Project, graph: Graph, hold: Hold, *, as_json: bool) -> None:
    """Writes the decision, then updates the released policy and nothing else."""
    from rlaif_dagster.defs.execution import run_assets

    started = time.monotonic()
    write_hold(project, hold)
    run_assets(project, graph, [RELEASED_POLICY], progress=ignore_progress, with_upstream=False)
    history = ReleaseHistory.from_records(project.ledger.records())
    console = Console(stderr=as_json)
    _show(console, history)
    console.print(f"{time.monotonic() - started:.1f} s", style="dim")
    if as_json:
        typer.echo(json.dumps(_describe(history)))


def _show(console: Console, history: ReleaseHistory) -> None:
    for release in history.releases:
        state = ""
        if release == history.current:
            state = "current" if history.held is None else f"held: {history.held}"
        console.print(
            f"{release.number:>3}  {release.digest.short}  policy {release.policy.short}  "
            f"{release.record.ended_at:%Y-%m-%d %H:%M}  [green]{escape(state)}[/]\n"
            f"     {escape('; '.join([_word_win_rate(release), *_word_reasons(release)]))}",
            soft_wrap=True,
            highlight=False,
        )


def _word_win_rate(release: Release) -> str:
    win_rate = release.facts["figures"]["win_rate_judge"]
    if win_rate is None:
        return "win rate by the judge: not measured"
    interval = "" if win_rate["low"] is None else f" ({win_rate['low']:.3f} to {win_rate['high']:.3f})"
    return f"win rate by the judge {win_rate['value']:.3f}{interval}"


def _word_reasons(release: Release) -> list[str]:
    checks = release.facts["checks"]
    passed = [f"{name} passed" for name, check in sorted(checks.items()) if check["passed"]]
    let_pass = [f"{it.asset}: {it.check} overridden: {it.reason}" for it in release.rests_on]
    chosen = [release.facts["reason"]] if "reason" in release.facts else []
    return [*chosen, *passed, *let_pass] or ["no check is required"]


def _describe(history: ReleaseHistory) -> dict[str, Any]:
    return {
        "releases": [
            {
                "number": release.number,
                "digest": str(release.digest),
                "policy": str(release.policy),
                "promoted_at": release.record.ended_at.isoformat(),
                "record": release.record.record_id,
                "checks": release.facts["checks"],
                "overrides": [override.model_dump() for override in release.rests_on],
                "is_current": release == history.current,
            }
            for release in history.releases
        ],
        "held": history.held,
        "rollbacks": [
            {"digest": str(rollback.digest), "when": rollback.when.isoformat(), "reason": rollback.reason}
            for rollback in history.rollbacks
        ],
    }
