from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.verdicts import Order, Preference, Verdict
from rlaif_dagster.preferences import (
    DROP_REASONS,
    PreferenceSettings,
    PreferencesResult,
    aggregate_verdicts,
    preferences_schema,
)
from rlaif_dagster.tables import read_table, write_table

PROMPTS = [{"prompt_id": "p", "prompt": "How?", "split": "train"}]
RESPONSES = [{"response_id": f"r{n}", "text": f"answer {n}"} for n in range(5)]
CONSTITUTION = Constitution(
    principles=(
        Principle(id="brief", text="Be brief.", weight=1.0),
        Principle(id="kind", text="Be kind.", weight=3.0),
    )
)
PAIR = Pair.from_responses("p", "r1", "r2")
_FLIPPED: dict[Order, Order] = {"ab": "ba", "ba": "ab"}


def verdict(
    order: Order,
    value: float | Preference | None,
    principle: str | None = None,
    pair: Pair = PAIR,
    status: Any = "unparsed",
) -> Verdict:
    p_first = value if isinstance(value, float) else None
    hard = value if isinstance(value, str) else None
    if p_first is not None:
        hard = "first" if p_first > 0.5 else "second" if p_first < 0.5 else "tie"
    return Verdict(
        verdict_id=f"{pair.pair_id}{order}{principle}",
        pair_id=pair.pair_id,
        prompt_id=pair.prompt_id,
        response_a=pair.response_a,
        response_b=pair.response_b,
        order=order,
        principle_id=principle,
        judge="j",
        repeat=0,
        status="ok" if hard else status,
        p_first=p_first,
        verdict=hard,
        answers=(),
    )


def aggregate(
    *verdicts: Verdict, constitution: Constitution | None = CONSTITUTION, **settings: Any
) -> PreferencesResult:
    return aggregate_verdicts(
        verdicts,
        constitution=constitution,
        prompts=PROMPTS,
        responses=RESPONSES,
        settings=PreferenceSettings(**settings),
    )


def test_a_worked_example() -> None:
    """brief: (0.8 + (1 - 0.4)) / 2 = 0.7; kind: (0.3 + (1 - 0.9)) / 2 = 0.2; (1 x 0.7 + 3 x 0.2) / 4 = 0.325.

    ab: (0.8 + 3 x 0.3) / 4 = 0.425; ba: (0.6 + 3 x 0.1) / 4 = 0.225.
    """
    result = aggregate(
        verdict("ab", 0.8, "brief"),
        verdict("ba", 0.4, "brief"),
        verdict("ab", 0.3, "kind"),
        verdict("ba", 0.9, "kind"),
    )
    assert result.rows == (
        {
            "pair_id": PAIR.pair_id,
            "prompt_id": "p",
            "split": "train",
            "prompt": "How?",
            "response_a": "r1",
            "response_b": "r2",
            "text_a": "answer 1",
            "text_b": "answer 2",
            "p_a": 0.325,
            "p_a_ab": 0.425,
            "p_a_ba": 0.225,
            "consistent": True,
            "near_tie": False,
            "num_verdicts": 4,
            "principles": [
                {"principle_id": "brief", "p_a": 0.7, "weight": 1.0},
                {"principle_id": "kind", "p_a": 0.2, "weight": 3.0},
            ],
            "chosen": "answer 2",
            "rejected": "answer 1",
        },
    )
    assert (result.num_pairs, result.consistent) == (1, 1)
    assert result.dropped == dict.fromkeys(DROP_REASONS, 0)


PROBABILITIES = st.floats(0, 1) | st.sampled_from(["first", "second", "tie", None])


@given(
    st.lists(
        st.tuples(st.sampled_from(["ab", "ba"]), st.sampled_from(["brief", "kind"]), PROBABILITIES),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_naming_the_responses_the_other_way_round_turns_p_a_into_its_complement(
    cells: list[tuple[Order, str, Any]], both: bool, every: bool, random: Any
) -> None:
    settings: dict[str, Any] = {"require_both_orders": both, "require_all_principles": every}
    verdicts = [verdict(order, value, principle) for order, principle, value in cells]
    # The pair "r2, r1": what was shown first stays, so the orders trade names.
    mirror = [replace(v, response_a="r2", response_b="r1", order=_FLIPPED[v.order]) for v in verdicts]
    random.shuffle(mirror)
    one, other = aggregate(*verdicts, **settings), aggregate(*mirror, **settings)
    assert one.dropped == other.dropped
    counts = ("num_pairs", "consistent", "first_first", "second_second", "tie_mixed")
    assert [getattr(one, name) for name in counts] == [getattr(other, name) for name in counts]
    for row, mirrored in zip(one.rows, other.rows, strict=True):
        assert mirrored["p_a"] == pytest.approx(1 - row["p_a"], abs=2e-9)
        for here, there in (("p_a_ab", "p_a_ba"), ("p_a_ba", "p_a_ab")):
            if row[here] is None:
                assert mirrored[there] is None
            else:
                assert mirrored[there] == pytest.approx(1 - row[here], abs=2e-9)
        assert (mirrored["consistent"], mirrored["num_verdicts"]) == (row["consistent"], row["num_verdicts"])
        assert {row["chosen"], row["rejected"]} == {"answer 1", "answer 2"}
        if row["p_a"] != 0.5:
            assert mirrored["chosen"] == row["chosen"]


@given(st.lists(st.sampled_from(["first", "second", "tie"]), min_size=2, max_size=2))
def test_how_two_hard_verdicts_agree(pair: list[Preference]) -> None:
    result = aggregate(verdict("ab", pair[0]), verdict("ba", pair[1]))
    names = {
        ("first", "second"): "consistent",
        ("second", "first"): "consistent",
        ("tie", "tie"): "consistent",
        ("first", "first"): "first_first",
        ("second", "second"): "second_second",
    }
    expected = names.get((pair[0], pair[1]), "tie_mixed")
    for name in ("consistent", "first_first", "second_second", "tie_mixed"):
        assert getattr(result, name) == int(name == expected)
    assert result.rows[0]["consistent"] == (expected == "consistent")
    assert (
        result.rows[0]["p_a"]
        == {"first": 0.5, "second": 0.0, "tie": 0.25}[pair[0]]
        + {
            "first": 0.0,
            "second": 0.5,
            "tie": 0.25,
        }[pair[1]]
    )


@pytest.mark.parametrize(
    ("reason", "verdicts"),
    [
        ("failed", [verdict("ab", 0.9), verdict("ba", None, status="failed")]),
        ("refused", [verdict("ab", 0.9), verdict("ba", None, status="refused")]),
        ("unparsed", [verdict("ab", 0.9), verdict("ba", None)]),
        ("missing_order", [verdict("ab", 0.9)]),
        ("missing_order", [verdict("ab", 0.9, "brief"), *(verdict(o, 0.5, "kind") for o in ("ab", "ba"))]),
        ("missing_principle", [verdict("ab", 0.9, "brief"), verdict("ba", 0.1, "brief")]),
        ("inconsistent", [verdict("ab", 0.9), verdict("ba", 0.8)]),
        ("near_tie", [verdict("ab", 0.52), verdict("ba", 0.46)]),
        ("near_tie", [verdict("ab", "tie"), verdict("ba", "tie")]),
    ],
)
def test_a_pair_is_left_out_for_one_counted_reason(reason: str, verdicts: list[Verdict]) -> None:
    good = Pair.from_responses("p", "r3", "r4")
    kept = [verdict("ab", 0.9, pair=good), verdict("ba", 0.1, pair=good)]
    result = aggregate(*verdicts, *kept, keep_inconsistent=False, keep_near_ties=False)
    assert [row["pair_id"] for row in result.rows] == [good.pair_id]
    assert {name: count for name, count in result.dropped.items() if count} == {reason: 1}
    assert result.num_pairs == 2


def test_what_is_kept_is_marked() -> None:
    (row,) = aggregate(verdict("ab", 0.9), verdict("ba", 0.88)).rows
    assert (row["consistent"], row["near_tie"], row["p_a"]) == (False, True, 0.51)
    (row,) = aggregate(verdict("ab", 0.9), verdict("ba", 0.88), near_tie_margin=0.01).rows
    assert not row["near_tie"]


def test_one_order_can_be_enough_where_that_is_asked_for() -> None:
    (row,) = aggregate(verdict("ab", 0.9), verdict("ba", None), require_both_orders=False).rows
    assert (row["p_a"], row["p_a_ab"], row["p_a_ba"]) == (0.9, 0.9, None)
    assert (row["consistent"], row["num_verdicts"]) == (None, 1)


def test_other_principles_can_stand_in_where_that_is_asked_for() -> None:
    verdicts = [verdict("ab", 0.8, "brief"), verdict("ba", 0.2, "brief"), verdict("ab", None, "kind")]
    (row,) = aggregate(*verdicts, require_all_principles=False).rows
    assert row["p_a"] == 0.8
    assert row["principles"] == [{"principle_id": "brief", "p_a": 0.8, "weight": 1.0}]


def test_without_a_constitution_principles_weigh_the_same() -> None:
    cells = (("ab", 0.8, "x"), ("ba", 0.2, "x"), ("ab", 0.4, "y"), ("ba", 0.6, "y"))
    verdicts = [verdict(order, value, name) for order, value, name in cells]  # type: ignore[arg-type]
    assert aggregate(*verdicts, constitution=None).rows[0]["p_a"] == 0.6


def test_several_verdicts_for_one_question_are_averaged() -> None:
    verdicts = [verdict("ab", 1.0), verdict("ab", 0.5), verdict("ba", 0.0), verdict("ba", 0.5)]
    (row,) = aggregate(*verdicts).rows
    assert (row["p_a"], row["num_verdicts"]) == (0.75, 4)


def test_a_principle_that_the_constitution_does_not_have_is_an_error() -> None:
    for principle in ("rude", None):
        with pytest.raises(JudgeError, match="remedy"):
            aggregate(verdict("ab", 0.9, principle), verdict("ba", 0.9, "kind"))


def test_rows_fit_their_table_and_come_in_one_order(tmp_path: Path) -> None:
    other = Pair.from_responses("p", "r0", "r4")
    verdicts = [verdict(o, 0.7, pair=pair) for pair in (PAIR, other) for o in ("ab", "ba")]
    rows = aggregate(*verdicts).rows
    assert rows == aggregate(*verdicts[::-1]).rows
    assert [row["response_a"] for row in rows] == ["r0", "r1"]
    write_table(tmp_path / "t.parquet", rows, preferences_schema())
    assert tuple(read_table(tmp_path / "t.parquet")) == rows
