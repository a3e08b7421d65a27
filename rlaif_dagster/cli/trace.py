"""`rlaif trace`: from a policy back to the sentences that shaped it, and from a sentence to what it shaped."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.tracing.subjects import Step, short
from rlaif_dagster.lineage.tracing.trace import trace_subject


def trace_command(root: Path, subject: str, *, remote: bool = False, as_json: bool) -> None:
    """Prints a trace.

    Raises:
        RlaifError: If the subject does not exist, or something that the trace needs cannot be read.
    """
    trace = trace_subject(Project.open(root, uses_remote=remote), subject)
    console = Console(stderr=as_json)
    console.print(f"[bold]{escape(trace.subject)}[/]", soft_wrap=True)
    _show_facts(console, trace.facts)
    _show_steps(console, "made from", trace.made_from)
    _show_steps(console, "went into", trace.went_into)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(trace), ensure_ascii=False))


def _show_facts(console: Console, facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            console.print(_tabulate(name, value))
        elif isinstance(value, Mapping):
            tree = Tree(f"[cyan]{escape(name)}[/]")
            for key, item in value.items():
                tree.add(f"{escape(str(key))}: {escape(_word(item))}")
            console.print(tree)
        else:
            console.print(f"[cyan]{escape(name)}[/]: {escape(_word(value))}", soft_wrap=True)


def _tabulate(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    names = [name for name in rows[0] if any(row[name] not in (None, []) for row in rows)]
    table = Table(*names, title=title, show_lines=True)
    for row in rows:
        table.add_row(*(escape(_word(row[name])) for name in names))
    return table


def _show_steps(console: Console, title: str, steps: tuple[Step, ...]) -> None:
    if not steps:
        return
    table = Table("asset", "digest", "from", "at (UTC)", title=title)
    for step in steps:
        sources = ", ".join(f"{name} {short(digest)}" for name, digest in step.inputs.items())
        table.add_row(step.asset, short(step.digest), escape(sources), step.ended_at[:19])
    console.print(table)


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
