"""`rlaif judge-audit`: measures how good the judges of a verdicts file are."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.judge_quality.doubts import find_doubts
from rlaif_dagster.judge_quality.figure_definitions import RATER_FIGURES, SOURCE_FIGURE, Definition
from rlaif_dagster.judge_quality.figures import Figure
from rlaif_dagster.judge_quality.judge_figures import JUDGE_FIGURES
from rlaif_dagster.judge_quality.raters import RatersResult
from rlaif_dagster.judge_quality.rows import read_verdict_file
from rlaif_dagster.judge_quality.summary import JudgeAuditResult, measure_verdicts

OVERVIEW = {
    "accuracy": "right",
    "order_agreement": "orders",
    "first_first": "first",
    "second_second": "second",
    "kappa_ground_truth": "kappa",
    "prefers_longer": "longer",
    "unparsed": "unparsed",
}
"""The figures in the table that compares several judges, and their short names."""

_NONE = "–"
_SMALL = 1e-4
"""Numbers below this are shown in scientific notation."""
_DEFINITIONS = {definition.key: definition for definition in (*JUDGE_FIGURES, *RATER_FIGURES)}


def judge_audit_command(file: Path, *, as_json: bool) -> None:
    """Prints the figures of every judge in a verdicts file.

    Raises:
        InputError: If the file is not a verdicts file.
    """
    with show_progress("rlaif judge-audit"):
        verdicts = read_verdict_file(file)
        result = measure_verdicts(verdicts.rows)
        doubts = list(find_doubts(file.name, verdicts.rows))
    console = Console(stderr=as_json)
    for table in _list_tables(result):
        console.print(table)
    for words in doubts:
        console.print(f"[red]doubt[/]  {escape(words)}", soft_wrap=True, highlight=False)
    if verdicts.unused_fields:
        names = ", ".join(verdicts.unused_fields)
        console.print(f"Unused fields: {escape(names)}", style="dim")
    if as_json:
        typer.echo(
            json.dumps({**result.to_json(), "unused_fields": list(verdicts.unused_fields), "doubts": doubts})
        )


def _list_tables(result: JudgeAuditResult) -> Iterable[Table]:
    for judge, figures in result.judges.items():
        yield _tabulate(f"Judge {judge}", [(d.title, d, figures[d.key]) for d in JUDGE_FIGURES])
    for judge, sources in result.sources.items():
        yield _tabulate(
            f"Answers that win where the orders agree, by {judge}",
            [(source, SOURCE_FIGURE, figure) for source, figure in sources.items()],
        )
    if result.raters is not None:
        keys = ("unanimous", "fleiss_kappa", "krippendorff_alpha")
        yield _tabulate(
            "Judges with each other",
            [(_DEFINITIONS[key].title, _DEFINITIONS[key], getattr(result.raters, key)) for key in keys],
        )
        yield _compare_two_by_two(result.raters)
        yield _compare_judges(result.judges)


def _tabulate(title: str, rows: Iterable[tuple[str, Definition, Figure]]) -> Table:
    """Makes a table of the measured figures; figures that were not measured are left out."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("figure")
    for name in ("value", "95 % interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    group = None
    for name, definition, figure in rows:
        if figure.value is None:
            continue
        if group not in (None, definition.group):
            table.add_section()
        group = definition.group
        table.add_row(
            escape(name),
            _format(figure.value, definition),
            _format_interval(figure, definition),
            f"{figure.n:,}",
        )
    return table


def _compare_two_by_two(raters: RatersResult) -> Table:
    table = _make_wide_table("Judges two by two", "judges")
    for name in ("equal", "kappa", "95 % interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in raters.pairs:
        table.add_row(
            escape(" / ".join(pair.judges)),
            _format(pair.agreement.value, _DEFINITIONS["agreement"]),
            _format(pair.kappa.value, _DEFINITIONS["kappa"]),
            _format_interval(pair.kappa, _DEFINITIONS["kappa"]),
            f"{pair.kappa.n:,}",
        )
    return table


def _compare_judges(judges: Mapping[str, Mapping[str, Figure]]) -> Table:
    table = _make_wide_table("Judges side by side", "judge")
    for title in OVERVIEW.values():
        table.add_column(title, justify="right", no_wrap=True)
    for judge, figures in judges.items():
        table.add_row(escape(judge), *(_format(figures[key].value, _DEFINITIONS[key]) for key in OVERVIEW))
    return table


def _make_wide_table(title: str, names: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column(names, overflow="fold")
    return table


def _format(value: float | None, definition: Definition) -> str:
    if value is None:
        return _NONE
    match definition.kind:
        case "share":
            return f"{100.0 * value:.1f} %"
        case "count":
            return f"{value:,.0f}"
        case "number":
            return f"{value:.4f}" if value == 0 or abs(value) >= _SMALL else f"{value:.1e}"


def _format_interval(figure: Figure, definition: Definition) -> str:
    if definition.interval == "census" or figure.low is None or figure.high is None:
        return ""
    low, high = (_format(bound, definition).removesuffix(" %") for bound in (figure.low, figure.high))
    return f"{low} to {high}" + (" %" if definition.kind == "share" else "")
