"""docs/judge-audit.md says of every figure what the result says of it."""

import json

import pytest

from rlaif_dagster.judge_quality.figure_definitions import INTERVALS, RATER_FIGURES, SOURCE_FIGURE, Definition
from rlaif_dagster.judge_quality.judge_figures import JUDGE_FIGURES
from rlaif_dagster.judge_quality.rows import VerdictLine
from tests.docs.pages import read_examples, read_table

PAGE = "judge-audit.md"
HEADINGS = {
    "verdicts": "Verdicts",
    "ground_truth": "Against the ground truth",
    "order": "Order and position",
    "length": "Length",
    "self": "Own answers",
    "stability": "Repeats",
    "calibration": "Soft labels",
    "sources": "Sources",
    "raters": "Several judges",
}


@pytest.mark.parametrize("group", HEADINGS)
def test_the_tables_of_figures_are_their_definitions(group: str) -> None:
    figures: list[Definition] = [
        figure for figure in (*JUDGE_FIGURES, SOURCE_FIGURE, *RATER_FIGURES) if figure.group == group
    ]
    assert figures
    assert read_table(PAGE, below=HEADINGS[group]).rows == tuple(
        {
            "figure": f"`{figure.key}`",
            "is": figure.definition,
            "n counts": figure.counts,
            "interval": figure.interval,
        }
        for figure in figures
    )


def test_the_table_of_intervals_is_their_definition() -> None:
    rows = read_table(PAGE, below="Intervals").rows
    assert {row["interval"]: row["is"] for row in rows} == INTERVALS


def test_the_example_rows_are_rows() -> None:
    (example,) = read_examples(PAGE, below="Input")
    rows = [VerdictLine.model_validate(json.loads(line)) for line in example.text.splitlines()]
    assert [row.order for row in rows] == ["ab", "ba"]
    assert not any(row.model_extra for row in rows)
