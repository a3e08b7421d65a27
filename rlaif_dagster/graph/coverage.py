"""The check that enough questions have a verdict. If it fails, it shows what the judge said instead."""

import functools
import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rlaif_dagster.graph.stage import Check, CheckResult
from rlaif_dagster.tables import stream_table

MOST_SAMPLES: Final = 3
"""How many replies without a verdict the check shows."""
LONGEST_SAMPLE: Final = 100
"""The length of a shown reply, in characters."""
MOST_LOOKED_AT: Final = 1000
"""How many rows without a verdict are read for the samples."""


def check_coverage(table: str, required: float) -> Check:
    """Makes the check for a table of verdicts.

    Args:
        table: The table's file in the output.
        required: The smallest share of rows that must be usable.
    """
    return Check(
        name="coverage",
        description="At least `gates.min_coverage` in judge.yaml of the questions have a usable verdict.",
        blocking=True,
        run=functools.partial(_check_coverage, table, required),
        required=required,
    )


def _check_coverage(table: str, required: float, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    statuses = Counter(row["status"] for row in stream_table(output / table, ["status"]))
    coverage = statuses["ok"] / statuses.total() if statuses else 0.0
    is_enough = coverage >= required
    return CheckResult(
        passed=is_enough,
        facts={
            "coverage": coverage,
            "num_ok": statuses["ok"],
            "num_asked": statuses.total(),
            **({} if is_enough else {"samples": _sample_unusable(output / table)}),
        },
    )


def _sample_unusable(file: Path) -> list[str]:
    """Lists the most frequent replies without a usable verdict, or why there was none; each short, on one line."""
    rows = stream_table(file, ["status", "answers"])
    unusable = itertools.islice((row for row in rows if row["status"] != "ok"), MOST_LOOKED_AT)
    said = Counter(
        _describe_answer(row["status"], answer)
        for row in unusable
        for answer in row["answers"]
        if row["status"] == "unparsed" or answer["status"] == row["status"]
    )
    return [text for text, _ in said.most_common(MOST_SAMPLES)]


def _describe_answer(status: str, answer: Mapping[str, str | None]) -> str:
    words = answer["text"] if status == "unparsed" else answer["reason"] or answer["text"]
    printable = "".join(letter if letter.isprintable() else " " for letter in words or "")
    text = " ".join(printable.split())
    shown = text if len(text) <= LONGEST_SAMPLE else f"{text[:LONGEST_SAMPLE]}…"
    return f"{status}: {shown or '(nothing was written)'}"
