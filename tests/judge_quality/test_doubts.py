"""Verdict files of the kind that is published: one judge's rows under another's name, and files of a wrong name."""

from rlaif_dagster.judge_quality.doubts import find_doubts
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import ORDERS

NUM_PAIRS = 60


def make_rows(judge: str, *, num_other: int = 0) -> list[JudgedRow]:
    """Bare verdicts of one judge; some of them are the other way round."""
    choices: tuple[Preference, ...] = ("first", "second")
    return [
        JudgedRow(
            pair=PairFacts(pair_id=str(number)),
            judge=judge,
            order=order,
            verdict=choices[(number + (number < num_other)) % 2],
        )
        for number in range(NUM_PAIRS)
        for order in ORDERS
    ]


def test_rows_that_are_copies_of_another_judges_are_doubted() -> None:
    (doubt,) = find_doubts("v.jsonl", [*make_rows("one"), *make_rows("two")])
    assert doubt.startswith("rows-copied: 120 of 120 rows of two equal those of one")


def test_judges_that_mostly_agree_are_two() -> None:
    assert list(find_doubts("v.jsonl", [*make_rows("one"), *make_rows("two", num_other=1)])) == []


def test_a_file_whose_name_says_another_model_is_doubted() -> None:
    (doubt,) = find_doubts("gpt-4-0613_verdicts.jsonl", make_rows("claude-2"))
    assert doubt.startswith(
        "name-contradicted: the file's name says gpt-4-0613, but its rows are of claude-2"
    )
    assert list(find_doubts("gpt-4-0613_verdicts.jsonl", make_rows("gpt-4"))) == []
