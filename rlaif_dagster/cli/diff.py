"""`rlaif diff`: shows what differs between two policies, releases or revisions, and which cause had which effect."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rlaif_dagster.graph.changes import Change
from rlaif_dagster.lineage.comparing.constitutions import PrincipleDiff
from rlaif_dagster.lineage.comparing.diff import AssetDiff, ProjectDiff, compare_states
from rlaif_dagster.lineage.comparing.feedback import PreferencesDiff
from rlaif_dagster.lineage.comparing.outcomes import OutcomesDiff
from rlaif_dagster.lineage.comparing.states import find_state
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.scratch import raising_storage_errors

_NUM_SHOWN = 5
_MARKS = {"same": ("", "", ""), "removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}
"""The marks around a piece of edited text, as in `git diff --word-diff`, and its style."""


def diff_command(
    root: Path, before: str, after: str, *, remote: bool = False, as_json: bool, html: Path | None
) -> None:
    """Prints a comparison, and writes it as a page if asked to.

    Raises:
        RlaifError: If a side does not exist, or the page cannot be written.
    """
    project = Project.open(root, uses_remote=remote)
    diff = compare_states(project, find_state(project, before), find_state(project, after))
    console = Console(stderr=as_json)
    _show(console, diff)
    if html is not None:
        from rlaif_dagster.lineage.comparing.page import render_diff

        with raising_storage_errors(html):
            html.write_text(render_diff(diff), encoding="utf-8")
        console.print(f"Page: {html}", soft_wrap=True, markup=False)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(diff), ensure_ascii=False))


def _show(console: Console, diff: ProjectDiff) -> None:
    console.print(f"[bold]A[/] {escape(diff.before)}\n[bold]B[/] {escape(diff.after)}", soft_wrap=True)
    _show_assets(console, diff.assets)
    for principle in diff.constitution or ():
        _show_principle(console, principle)
    for change in (*(diff.judge or ()), *diff.settings):
        console.print(_word_change(change), soft_wrap=True)
    if diff.prompts is not None:
        for what, texts in (
            ("added", diff.prompts.added),
            ("removed", diff.prompts.removed),
            ("in another split or category", diff.prompts.moved),
        ):
            _show_texts(console, what, texts)
    if diff.verdicts is not None:
        anew = ", ".join(f"{count:,} by {name}" for name, count in diff.verdicts.asked_anew.items())
        console.print(
            f"[cyan]verdicts[/]: {diff.verdicts.num_kept:,} kept, newly asked: {escape(anew) or 'none'}",
            soft_wrap=True,
        )
    if diff.preferences is not None:
        _show_preferences(console, diff.preferences)
    if diff.rewards is not None:
        value = "unknown" if diff.rewards.spearman is None else f"{diff.rewards.spearman:.3f}"
        console.print(
            f"[cyan]reward models[/]: rank correlation {value} on {diff.rewards.num_answers:,} common answers "
            f"(scored by the {diff.rewards.source})",
            soft_wrap=True,
        )
    if diff.outcomes is not None:
        _show_outcomes(console, diff.outcomes)
    for words in diff.absent:
        console.print(f"[yellow]absent[/]  {escape(words)}", soft_wrap=True, highlight=False)
    for chain in diff.chains:
        words = " -> ".join((chain.cause, *chain.effects))
        console.print(f"[bold]cause[/]  {escape(words)}", soft_wrap=True, highlight=False)


def _show_assets(console: Console, assets: Sequence[AssetDiff]) -> None:
    table = Table("asset", "A", "B")
    for asset in assets:
        before, after = (
            "absent" if digest is None else digest.removeprefix("sha256:")[:12]
            for digest in (asset.before, asset.after)
        )
        table.add_row(asset.asset, before, "the same" if asset.before == asset.after else after)
    console.print(table)


def _show_principle(console: Console, principle: PrincipleDiff) -> None:
    sides = (principle.weight_before, principle.weight_after)
    weights = " -> ".join(f"{weight:g}" for weight in dict.fromkeys(sides) if weight is not None)
    line = Text(f"principle {principle.principle_id} {principle.change}, weight {weights}: ")
    for part in principle.text:
        opening, closing, style = _MARKS[part.what]
        line.append(f"{opening}{part.text}{closing}", style=style)
    console.print(line, soft_wrap=True)


def _word_change(change: Change) -> str:
    old, new = ("–" if value is None else json.dumps(value) for value in (change.old, change.new))
    return f"[cyan]{escape(change.path)}[/] {escape(old)} -> {escape(new)}"


def _show_texts(console: Console, what: str, texts: Sequence[str]) -> None:
    if texts:
        shown = "".join(f"\n  {escape(text)}" for text in texts[:_NUM_SHOWN])
        more = f"\n  … and {len(texts) - _NUM_SHOWN:,} more" if len(texts) > _NUM_SHOWN else ""
        console.print(f"[cyan]{len(texts):,} prompts {what}[/]{shown}{more}", soft_wrap=True)


def _show_preferences(console: Console, diff: PreferencesDiff) -> None:
    console.print(
        f"[cyan]preferences[/]: of {diff.num_common:,} common pairs {diff.num_flipped:,} flipped "
        f"({diff.num_by_weights:,} by weights alone), {diff.num_moved:,} changed their label",
        soft_wrap=True,
    )
    if diff.num_moved:
        table = Table(
            "principle", "common pairs", "own verdict flipped", "in flipped pairs", "flipped by it alone"
        )
        for one in diff.principles:
            counts = (one.num_common, one.num_own, one.num_in_flipped, one.num_alone)
            table.add_row(escape(one.principle_id), *(f"{count:,}" for count in counts))
        console.print(table)
    for flip in diff.examples:
        console.print(
            f"  pair {flip.pair_id}: {flip.before:.3f} -> {flip.after:.3f}  {escape(flip.prompt)}\n"
            f"    a: {escape(flip.answer_a)}\n    b: {escape(flip.answer_b)}",
            soft_wrap=True,
        )
        for said in flip.principles:
            old, new = ("–" if p is None else f"{p:.3f}" for p in (said.before, said.after))
            mark = "  [bold]flipped[/]" if said.flipped else ""
            console.print(f"    by {escape(said.principle_id)}: {old} -> {new}{mark}")


def _show_outcomes(console: Console, diff: OutcomesDiff) -> None:
    table = Table(
        "win rate by", "A", "B", "shift", "interval", title=f"{diff.num_common:,} common comparisons"
    )
    for rate in diff.win_rates:
        interval = "" if rate.shift.low is None else f"{rate.shift.low:+.3f} to {rate.shift.high:+.3f}"
        table.add_row(
            rate.source.replace("_", " "),
            f"{rate.before:.3f}",
            f"{rate.after:.3f}",
            f"{rate.shift.value:+.3f}",
            interval,
        )
    console.print(table)
    for sample in diff.samples:
        console.print(
            f"  {escape(sample.prompt)}\n    A: {escape(sample.before)}\n    B: {escape(sample.after)}",
            soft_wrap=True,
        )
