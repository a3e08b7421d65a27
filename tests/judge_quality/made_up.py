"""Verdict rows for tests, written briefly."""

from collections.abc import Sequence
from typing import Any, get_args

from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import Order

VERDICTS: dict[str, Preference | None] = {"1": "first", "2": "second", "=": "tie", "?": None}


def make_question(
    pair: str | PairFacts, verdicts: str, *, judge: str = "judge", repeat: int = 0
) -> list[JudgedRow]:
    """One question in the order ab, and in ba if there is a second verdict.

    Args:
        pair: The pair, or its id.
        verdicts: `1` first, `2` second, `=` tie, `?` none; `_` was not asked.
    """
    facts = PairFacts(pair_id=pair) if isinstance(pair, str) else pair
    return [
        JudgedRow(pair=facts, judge=judge, order=order, repeat=repeat, verdict=VERDICTS[verdict])
        for order, verdict in zip(get_args(Order), verdicts, strict=False)
        if verdict != "_"
    ]


def make_questions(verdicts: Sequence[str], *, judge: str = "judge", **facts: Any) -> list[JudgedRow]:
    """A question each, on pairs with the same facts."""
    return [
        row
        for number, text in enumerate(verdicts)
        for row in make_question(PairFacts(pair_id=f"p{number}", **facts), text, judge=judge)
    ]


def make_question_with(verdicts: str, number: int, *, judge: str = "judge", **facts: Any) -> list[JudgedRow]:
    """A question on a pair of its own facts."""
    return make_question(PairFacts(pair_id=f"p{number}", **facts), verdicts, judge=judge)
