from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.jury import Jury
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.settings import Combine, JudgingProtocol
from rlaif_dagster.judging.verdicts import ORDERS, Order, Verdict
from rlaif_dagster.preferences import (
    DROP_REASONS,
    PreferenceSettings,
    PreferencesResult,
    aggregate_verdicts,
    preferences_schema,
)
from rlaif_dagster.tables import read_table, write_table

PROMPTS = [{"prompt_id": "p", "prompt": "How?", "split": "train"}]
RESPONSES = [
    {"response_id": f"r{n}", "text": f"answer {n}", "finish_reason": ("stop", "length")[n % 2]}
    for n in range(5)
]
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
    *,
    pair: Pair = PAIR,
    status: Any = "unparsed",
    judge: str = "j",
    repeat: int = 0,
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
        judge=judge,
        repeat=repeat,
        status="ok" if hard else status,
        p_first=p_first,
        verdict=hard,
        answers=(),
    )


def aggregate(
    *verdicts: Verdict,
    constitution: Constitution | None = CONSTITUTION,
    protocol: JudgingProtocol = "per_principle",
    combine: Combine = "mean",
    human: Mapping[str, float] = MappingProxyType({}),
    **settings: Any,
) -> PreferencesResult:
    return aggregate_verdicts(
        verdicts,
        constitution=constitution,
        prompts=PROMPTS,
        responses=RESPONSES,
        settings=PreferenceSettings(**settings),
        protocol=protocol,
        jury=Jury.from_verdicts(combine, verdicts),
        human=human,
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
    assert tuple(result.rows) == (
        {
            "pair_id": PAIR.pair_id,
            "prompt_id": "p",
            "split": "train",
            "prompt": "How?",
            "response_a": "r1",
            "response_b": "r2",
            "text_a": "answer 1",
            "text_b": "answer 2",
            "finish_reason_a": "length",
            "finish_reason_b": "stop",
            "p_a": 0.325,
            "p_a_ab": 0.425,
            "p_a_ba": 0.225,
            "consistent": True,
            "near_tie": False,
            "judge_agreement": None,
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


AT_THE_MARGIN: list[tuple[Order, str, Any, str]] = [
    (order, principle, p_first, "j")
    for principle in ("brief", "kind")
    for order, p_first in zip(ORDERS, (0.45, 0.55), strict=True)
]
AS_USUAL: dict[str, Any] = {"protocol": "per_principle", "combine": "mean", "random": Random(0)}  # noqa: S311
PROBABILITIES = (
    st.floats(0, 1)
    | st.integers(0, 20).map(lambda place: place / 20)  # means at the margin of near ties
    | st.sampled_from(["first", "second", "tie", None])
)


@given(
    cells=st.lists(
        st.tuples(
            st.sampled_from(["ab", "ba"]),
            st.sampled_from(["brief", "kind"]),
            PROBABILITIES,
            st.sampled_from(["j", "k", "l"]),
        ),
        min_size=1,
        max_size=16,
    ),
    both=st.booleans(),
    every=st.booleans(),
    near=st.booleans(),
    agreed=st.booleans(),
    human=st.sampled_from([None, 0.0, 0.5, 1.0]),
    protocol=st.sampled_from(["per_principle", "one_principle"]),
    combine=st.sampled_from(["mean", "majority", "reliability"]),
    random=st.randoms(use_true_random=False),
)
@example(cells=AT_THE_MARGIN, both=True, every=True, near=True, agreed=True, human=None, **AS_USUAL)
@example(cells=AT_THE_MARGIN, both=True, every=True, near=False, agreed=True, human=None, **AS_USUAL)
def test_naming_the_responses_the_other_way_round_turns_p_a_into_its_complement(
    *,
    cells: list[tuple[Order, str, Any, str]],
    both: bool,
    every: bool,
    near: bool,
    agreed: bool,
    human: float | None,
    protocol: JudgingProtocol,
    combine: Combine,
    random: Any,
) -> None:
    settings: dict[str, Any] = {
        "require_both_orders": both,
        "require_all_principles": every,
        "keep_near_ties": near,
        "keep_inconsistent": agreed,
        "human_weight": 1.0,
        "protocol": protocol,
        "combine": combine,
    }
    verdicts = [verdict(order, value, principle, judge=judge) for order, principle, value, judge in cells]
    # The pair "r2, r1": what was shown first stays, so the orders trade names.
    mirror = [replace(v, response_a="r2", response_b="r1", order=_FLIPPED[v.order]) for v in verdicts]
    random.shuffle(mirror)
    said = {} if human is None else {PAIR.pair_id: human}
    said_of_mirror = {pair_id: 1 - p_a for pair_id, p_a in said.items()}
    one = aggregate(*verdicts, human=said, **settings)
    other = aggregate(*mirror, human=said_of_mirror, **settings)
    assert one.dropped == other.dropped
    counts = ("num_pairs", "consistent", "first_first", "second_second", "tie_mixed", "num_human")
    assert [getattr(one, name) for name in counts] == [getattr(other, name) for name in counts]
    for row, mirrored in zip(one.rows, other.rows, strict=True):
        assert mirrored["p_a"] == pytest.approx(1 - row["p_a"], abs=2e-9)
        for here, there in (("p_a_ab", "p_a_ba"), ("p_a_ba", "p_a_ab")):
            if row[here] is None:
                assert mirrored[there] is None
            else:
                assert mirrored[there] == pytest.approx(1 - row[here], abs=2e-9)
        for same in ("consistent", "near_tie", "num_verdicts", "judge_agreement"):
            assert mirrored[same] == row[same]
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
        # A verdict that lacks nothing, or that was given another time, is no gap though another one failed.
        (
            "missing_order",
            [
                verdict("ab", 0.9, "brief"),
                *(verdict(o, 0.5, "kind") for o in ("ab", "ba")),
                verdict("ab", None, "kind", judge="k", status="failed"),
            ],
        ),
        ("missing_order", [verdict("ab", 0.9), verdict("ab", None, repeat=1, status="failed")]),
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


def test_pairs_are_counted_under_each_reason_and_each_way_in_which_orders_agree() -> None:
    """Two of each: dropped before and after they have a label, consistent, labelled by people as well."""
    pairs = [
        Pair.from_responses("p", *names.split())
        for names in ("r0 r1", "r0 r2", "r0 r3", "r0 r4", "r1 r2", "r1 r3")
    ]
    verdicts = [
        *(verdict(order, None, pair=pair, status="failed") for pair in pairs[:2] for order in ORDERS),
        *(verdict(order, 0.5, pair=pair) for pair in pairs[2:4] for order in ORDERS),
        *(verdict(o, p, pair=pair) for pair in pairs[4:] for o, p in zip(ORDERS, (0.9, 0.1), strict=True)),
    ]
    people = {pair.pair_id: 1.0 for pair in pairs[4:]}
    result = aggregate(*verdicts, keep_near_ties=False, human=people, human_weight=1.0)
    assert (result.num_pairs, len(result.rows), result.num_human) == (6, 2, 2)
    assert {name: count for name, count in result.dropped.items() if count} == {"failed": 2, "near_tie": 2}
    assert result.consistent == 4
    assert aggregate(*verdicts, human=people).num_human == 0  # people weigh nothing


def test_the_whole_constitution_counts_as_one_principle_without_a_name() -> None:
    (row,) = aggregate(verdict("ab", 0.8), verdict("ba", 0.2)).rows
    assert row["principles"] == [{"principle_id": None, "p_a": 0.8, "weight": 1.0}]
    cells = [(principle, order) for principle in ("x", None, "B") for order in ORDERS]
    mixed = [verdict(order, 0.9 if order == "ab" else 0.1, principle) for principle, order in cells]
    (row,) = aggregate(*mixed, constitution=None).rows
    assert [(rule["principle_id"], rule["weight"]) for rule in row["principles"]] == [
        (None, 1.0),
        ("B", 1.0),
        ("x", 1.0),
    ]


def test_at_exactly_one_half_the_answer_that_is_named_first_is_chosen() -> None:
    (row,) = aggregate(verdict("ab", "tie"), verdict("ba", "tie")).rows
    assert (row["p_a"], row["chosen"], row["rejected"]) == (0.5, "answer 1", "answer 2")


def test_only_what_may_be_unknown_may_be_empty_in_the_table() -> None:
    schema = preferences_schema()
    assert {field.name for field in schema if field.nullable} == {
        "finish_reason_a",
        "finish_reason_b",
        "p_a_ab",
        "p_a_ba",
        "consistent",
        "judge_agreement",
    }
    principle = schema.field("principles").type.value_type
    assert {field.name for field in principle if field.nullable} == {"principle_id"}


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
    rows = tuple(aggregate(*verdicts).rows)
    assert rows == tuple(aggregate(*verdicts[::-1]).rows)
    assert [row["response_a"] for row in rows] == ["r0", "r1"]
    write_table(tmp_path / "t.parquet", rows, preferences_schema())
    assert tuple(read_table(tmp_path / "t.parquet")) == rows


def test_one_drawn_principle_is_enough_where_one_is_drawn() -> None:
    verdicts = [verdict("ab", 0.8, "kind"), verdict("ba", 0.2, "kind")]
    assert aggregate(*verdicts).dropped["missing_principle"] == 1
    (row,) = aggregate(*verdicts, protocol="one_principle").rows
    assert row["p_a"] == 0.8
    assert row["principles"] == [{"principle_id": "kind", "p_a": 0.8, "weight": 3.0}]
    half = aggregate(verdicts[0], verdict("ba", None, "kind", status="refused"), protocol="one_principle")
    assert (len(half.rows), half.dropped["refused"]) == (0, 1)
    with pytest.raises(JudgeError, match="remedy"):
        aggregate(verdict("ab", 0.9, "rude"), protocol="one_principle")


def test_a_worked_jury() -> None:
    """By order, then over orders. mean: ab (0.9 + 0.6 + 0.3) / 3 = 0.6, ba (0.8 + 0.4 + 0.3) / 3 = 0.5.

    majority: ab 2 of 3, ba 1 of 3. Leaning over both orders: j 0.85 and l 0.3, k 0.5 exactly: no two agree.
    """
    said = {"j": (0.9, 0.2), "k": (0.6, 0.6), "l": (0.3, 0.7)}
    verdicts = [
        verdict(order, value, judge=judge)
        for judge, values in said.items()
        for order, value in zip(ORDERS, values, strict=True)
    ]
    (row,) = aggregate(*verdicts).rows
    assert (row["p_a_ab"], row["p_a_ba"], row["p_a"]) == (0.6, 0.5, 0.55)
    assert (row["num_verdicts"], row["judge_agreement"]) == (6, 0.0)
    (row,) = aggregate(*verdicts, combine="majority").rows
    assert (row["p_a_ab"], row["p_a_ba"], row["p_a"]) == (0.666666667, 0.333333333, 0.5)
    (row,) = aggregate(*verdicts[:4]).rows  # j and k alone
    assert row["judge_agreement"] == 0.0
    (row,) = aggregate(*verdicts[:2]).rows
    assert row["judge_agreement"] is None


def test_the_agreement_of_judges_is_the_mean_over_principles_by_weight() -> None:
    """brief (weight 1): j, k, l lean a, a, b: 1 of 3 pairs. kind (weight 3): all lean b: 1. (1/3 + 3) / 4 = 5/6."""
    leans = {"brief": (0.9, 0.8, 0.1), "kind": (0.1, 0.2, 0.3)}
    verdicts = [
        verdict(order, value if order == "ab" else 1 - value, principle, judge=judge)
        for principle, values in leans.items()
        for judge, value in zip("jkl", values, strict=True)
        for order in ORDERS
    ]
    assert aggregate(*verdicts).rows[0]["judge_agreement"] == 0.833333333


def test_a_judge_without_both_orders_does_not_count_and_does_not_stop_the_others() -> None:
    complete = [verdict("ab", 0.8), verdict("ba", 0.2)]
    half = [verdict("ab", 0.1, judge="k"), verdict("ba", None, judge="k", status="failed")]
    (row,) = aggregate(*complete, *half).rows
    assert (row["p_a"], row["num_verdicts"], row["judge_agreement"]) == (0.8, 2, None)
    (row,) = aggregate(*complete, *half, require_both_orders=False).rows
    assert (row["p_a_ab"], row["p_a_ba"], row["num_verdicts"]) == (0.45, 0.8, 3)
    # Two halves make no whole: nobody has seen both orders.
    other = [verdict("ba", 0.4), verdict("ab", None, status="refused")]
    assert aggregate(*half, *other).dropped["failed"] == 1
    assert aggregate(half[0], other[0]).dropped["missing_order"] == 1


def test_repeats_are_averaged_before_judges_are_combined() -> None:
    """j says 0.9 and 0.5, so 0.7; k says 0.1 once: their mean is 0.4, not that of three verdicts."""
    verdicts = [
        verdict(order, value if order == "ab" else 1 - value, judge=judge, repeat=repeat)
        for judge, repeat, value in (("j", 0, 0.9), ("j", 1, 0.5), ("k", 0, 0.1))
        for order in ORDERS
    ]
    (row,) = aggregate(*verdicts).rows
    assert (row["p_a"], row["num_verdicts"]) == (0.4, 6)
    failed = verdict("ab", None, judge="j", repeat=2, status="failed")
    assert aggregate(*verdicts, failed).rows[0]["p_a"] == 0.4


def test_verdicts_of_a_pair_have_to_stand_together() -> None:
    other = Pair.from_responses("p", "r0", "r4")
    with pytest.raises(JudgeError, match="are not next to each other"):
        aggregate(verdict("ab", 0.7), verdict("ab", 0.7, pair=other), verdict("ba", 0.7))


@given(st.integers(0, 100))
def test_a_judge_that_says_the_same_of_the_place_in_both_orders_leans_to_nobody(percent: int) -> None:
    """Whatever floating point makes of p and 1 - p: both judges tie, so they agree."""
    verdicts = [verdict(o, percent / 100, judge=judge) for judge in "jk" for o in ORDERS]
    (row,) = aggregate(*verdicts).rows
    assert (row["p_a"], row["judge_agreement"]) == (0.5, 1.0)


def test_people_count_with_their_own_weight() -> None:
    """The judge says 0.8; people say b, which weighs 3: (0.8 + 3 x 0) / 4 = 0.2. The orders stay the judge's."""
    verdicts = [verdict(order, p, "brief") for order, p in zip(ORDERS, (0.8, 0.2), strict=True)]
    verdicts += [verdict(order, p, "kind") for order, p in zip(ORDERS, (0.8, 0.2), strict=True)]
    people = {PAIR.pair_id: 0.0, "another pair": 1.0}
    result = aggregate(*verdicts, human=people, human_weight=3.0)
    (row,) = result.rows
    assert row["p_a"] == pytest.approx(0.2)
    assert (row["p_a_ab"], row["chosen"], result.num_human) == (pytest.approx(0.8), "answer 2", 1)
    assert tuple(aggregate(*verdicts, human=people).rows) == tuple(aggregate(*verdicts).rows)
    (row,) = aggregate(*verdicts, human={PAIR.pair_id: 0.0}, human_weight=1.6).rows
    assert row["near_tie"] is False  # (0.8 + 0) / 2.6 = 0.308


@given(percent=st.integers(0, 100), margin=st.integers(1, 50))
def test_a_near_tie_is_closer_than_the_margin_whichever_answer_is_named_first(
    percent: int, margin: int
) -> None:
    """In whole percent, where nothing is rounded: |0.45 - 0.5| and |0.55 - 0.5| are 0.05, and so not below it."""
    named = [verdict("ab", percent / 100), verdict("ba", 1 - percent / 100)]
    renamed = [replace(v, response_a="r2", response_b="r1", order=_FLIPPED[v.order]) for v in named]
    is_near = abs(percent - 50) < margin
    for verdicts, p_a in ((named, percent / 100), (renamed, (100 - percent) / 100)):
        (row,) = aggregate(*verdicts, near_tie_margin=margin / 100).rows
        assert (row["p_a"], row["near_tie"]) == (p_a, is_near)
        without = aggregate(*verdicts, near_tie_margin=margin / 100, keep_near_ties=False)
        assert (len(without.rows), without.dropped["near_tie"]) == ((0, 1) if is_near else (1, 0))
