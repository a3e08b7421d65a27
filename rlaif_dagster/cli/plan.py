"""`rlaif plan`: shows what a run would do, why, and what it would cost."""

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlaif_dagster.cli.figures import show_drifts
from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.graph.price import Price, Range
from rlaif_dagster.lineage.causes import Cause
from rlaif_dagster.lineage.drift import describe_drifts, find_drifts
from rlaif_dagster.lineage.plan import Plan, PlannedAsset, make_plan
from rlaif_dagster.lineage.project import Project

BECOMES: Final = {
    "reused": "an earlier version",
    "computed": "[green]computed[/]",
    "stopped": "[yellow]not made[/]",
    "perhaps": "[yellow]computed, unless its inputs come out unchanged[/]",
    "blocked": "[red]blocked[/]",
}

_WHOLE_FROM = 1000
"""Amounts from here on are printed without a fraction."""


def plan_command(root: Path, assets: Sequence[str], *, as_json: bool) -> None:
    """Prints the plan of a run; nothing is changed.

    Raises:
        RlaifError: If the inputs or the ledger are wrong.
    """
    project = Project.open(root)
    plan = make_plan(project, project.build_graph(), assets)
    heads, drifts = project.ledger.find_heads(), find_drifts(project.ledger)
    console = Console(stderr=as_json)
    show_plan(console, plan)
    show_drifts(console, drifts, heads)
    if as_json:
        typer.echo(json.dumps({**describe_plan(plan), "drifts": describe_drifts(drifts, heads)}))


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "stale": [_describe_asset(item) for item in plan.stale],
        "fresh": [item.asset for item in plan.fresh],
        "total": describe_price(plan.price),
    }


def _describe_asset(item: PlannedAsset) -> dict[str, Any]:
    return {
        "asset": item.asset,
        "status": item.status,
        "causes": [
            {"path": cause.path, "old": cause.old, "new": cause.new, "asset": cause.asset}
            for cause in item.causes
        ],
        "blocked_by": list(item.blocked_by),
        **describe_price(item.price),
    }


def describe_price(price: Price) -> dict[str, Any]:
    """A price as JSON."""
    return {
        "rows_sampled": {**_describe_range(price.rows_sampled), "reused": price.rows_reused},
        "judge_calls": {**_describe_range(price.judge_calls), "reused": price.judge_calls_reused},
        "tokens": price.tokens and _describe_range(price.tokens),
        "cost": price.cost and _describe_range(price.cost),
        "currency": price.currency,
    }


def _describe_range(span: Range) -> dict[str, float | None]:
    return {"min": span.min, "max": span.max}


def show_plan(console: Console, plan: Plan) -> None:
    """Prints what is stale, the root causes, and the price."""
    if not plan.stale:
        console.print("[green]Everything is fresh[/]: a run makes nothing.")
        return
    causes = {
        (cause.asset, cause.path): cause
        for item in plan.stale
        for cause in item.causes
        if cause.old is not None or cause.new is not None
    }
    numbers = {key: number for number, key in enumerate(causes, start=1)}
    table = Table(title="Plan")
    for column in ("asset", "becomes", "rows to sample", "verdicts to ask", "because of"):
        table.add_column(column, justify="right" if " to " in column else "left", no_wrap=column == "asset")
    for item in plan.stale:
        table.add_row(
            item.asset,
            BECOMES[item.status] + "".join(f"\nby {gate}" for gate in item.blocked_by),
            _word_work(item.price.rows_sampled, item.price.rows_reused),
            _word_work(item.price.judge_calls, item.price.judge_calls_reused),
            ", ".join(str(numbers.get((c.asset, c.path)) or c.path.split(": ")[-1]) for c in item.causes),
        )
    console.print(table)
    for key, cause in causes.items():
        for line in _word_cause(cause):
            console.print(f"{numbers[key]:>3}  {line}" if line[0] != " " else f"     {line}", soft_wrap=True)
    console.print(f"\nfresh: {', '.join(item.asset for item in plan.fresh) or 'nothing'}", soft_wrap=True)
    console.print(_word_total(plan.price), soft_wrap=True)


def word_range(span: Range) -> str:
    """Writes a range in words."""
    if span.max is None:
        return f"{_word_amount(span.min)} or more"
    least, most = _word_amount(span.min), _word_amount(span.max)
    return least if span.min == span.max else f"{least} to {most}"


def _word_amount(amount: float) -> str:
    """Writes a count exactly, and an estimate (tokens, fees) with its significant digits."""
    if isinstance(amount, int):
        return f"{amount:,}"
    return f"{amount:,.0f}" if amount >= _WHOLE_FROM else f"{amount:.4g}"


def _word_work(span: Range, num_reused: int) -> str:
    if span.max == 0 and not num_reused:
        return ""
    return word_range(span) + (f"\n({num_reused:,} reused)" if num_reused else "")


def _word_total(price: Price) -> str:
    total = f"in all: {word_range(price.rows_sampled)} rows to sample, {word_range(price.judge_calls)} verdicts to ask"
    for name, span in (("tokens", price.tokens), (f"{escape(price.currency or '')} in fees", price.cost)):
        if span is not None and span.max != 0:
            total += f", {word_range(span)} {name}"
    return total


def _word_cause(cause: Cause) -> Iterator[str]:
    """Yields the lines that show a change; all but the first begin with a space."""
    yield f"[bold]{escape(cause.path)}[/]"
    if isinstance(cause.old, str) and isinstance(cause.new, str) and " " in cause.old + cause.new:
        yield from _mark_words(cause.old, cause.new)
    elif cause.old is not None or cause.new is not None:
        yield f" [red]{escape(_word_value(cause.old))}[/] → [green]{escape(_word_value(cause.new))}[/]"


def _mark_words(old: str, new: str) -> Iterator[str]:
    """Yields both texts with the differing words marked."""
    before, after = old.split(), new.split()
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    sides = (
        ("-", "red", before, [(tag == "equal", start, end) for tag, start, end, _, _ in blocks]),
        ("+", "green", after, [(tag == "equal", start, end) for tag, _, _, start, end in blocks]),
    )
    for sign, colour, words, runs in sides:
        parts = [
            escape(text) if equal else f"[{colour} bold]{escape(text)}[/]"
            for equal, start, end in runs
            if (text := " ".join(words[start:end]))
        ]
        yield f" [{colour}]{sign}[/] {' '.join(parts)}"


def _word_value(value: JsonValue) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return Digest.parse(value).short if value.startswith("sha256:") else value
    return json.dumps(value, ensure_ascii=False)
