"""Categories and principles in which the aligned policy got better or worse."""

from dataclasses import replace

import pytest

from rlaif_dagster.evaluation.comparison import Comparison, PrincipleOutcome
from rlaif_dagster.evaluation.groups import GroupTest, compare_groups
from rlaif_dagster.evaluation.sources import find_judge_gaps, summarise_source
from rlaif_dagster.stats.intervals import Estimate


def make_row(number: int, **values: object) -> Comparison:
    row = Comparison(
        prompt_id=f"p{number}", prompt="Why?", base_text="No.", aligned_text="Because.", p_judge=None
    )
    return replace(row, **values)  # type: ignore[arg-type]


def find(tests: tuple[GroupTest, ...], name: str, source: str = "ground_truth") -> GroupTest:
    return next(test for test in tests if (test.name, test.source) == (name, source))


def test_a_planted_regression_is_found_behind_a_good_whole() -> None:
    """`risky` loses all of 8 prompts, 1/256, of three tested groups at most 3/256 = 0.012; the whole wins 32 of 40.

    By the principle `kind`, which loses 1 of 40, nothing is lost.
    """
    rows = [
        make_row(
            number,
            category="risky" if number < 8 else "plain",
            ground_truth=0.0 if number < 8 else 1.0,
            principles=(PrincipleOutcome(principle_id="kind", p_judge=None, ground_truth=float(number > 0)),),
        )
        for number in range(40)
    ]
    tests = compare_groups(rows, 0.95)
    assert [(test.kind, test.name, test.source) for test in tests] == [
        ("category", "plain", "ground_truth"),
        ("category", "risky", "ground_truth"),
        ("principle", "kind", "ground_truth"),
    ]
    risky = find(tests, "risky")
    assert (risky.p_worse, risky.p_worse_of_many, risky.change) == (1 / 256, 3 / 256, "worse")
    assert find(tests, "plain").change == "better"
    assert find(tests, "kind").change == "better"


def test_more_groups_ask_for_more_proof() -> None:
    """Six lost prompts are 1/64 alone, and 13/64 among thirteen groups."""
    rows = [
        make_row(
            number, category="few" if number < 6 else f"other {number % 12}", ground_truth=float(number >= 6)
        )
        for number in range(6, 30)
    ]
    few = [make_row(number, category="few", ground_truth=0.0) for number in range(6)]
    assert find(compare_groups(few, 0.95), "few").change == "worse"
    among = find(compare_groups(few + rows, 0.95), "few")
    assert among.p_worse_of_many == pytest.approx(13 / 64)
    assert among.change == "not_shown"


def test_sources_are_tested_apart_and_the_reward_model_not_at_all() -> None:
    rows = [
        make_row(
            n,
            category="x",
            p_judge=0.9,
            p_independent=0.1,
            ground_truth=0.5,
            base_reward=0.0,
            aligned_reward=1.0,
        )
        for n in range(10)
    ]
    tests = compare_groups(rows, 0.95)
    changes = {test.source: test.change for test in tests}
    assert changes == {"ground_truth": "not_shown", "independent_judge": "worse", "judge": "better"}


def test_a_judge_that_the_policy_learned_to_please_is_shown_by_the_independent_one() -> None:
    """The judge says 30 wins of 40; the independent one 10 wins, 10 ties and 20 losses, on the same comparisons.

    Same words: the 10 that both give a win, and the 10 that both give a loss: 20 of 40. Gap: 0.75 - 0.375.
    """
    rows = [
        make_row(
            number,
            p_judge=0.8 if number < 30 else 0.3,
            p_judge_ab=0.9,
            p_judge_ba=0.7 if number < 30 else 0.2,
            p_independent=0.7 if number < 10 else 0.5 if number < 20 else 0.2,
            p_independent_ab=0.6,
            p_independent_ba=0.4,
        )
        for number in range(40)
    ]
    (gap,) = find_judge_gaps(rows, 0.95)
    assert gap.reference == "independent_judge"
    assert gap.agreement.value == 0.5
    assert gap.win_rate_difference.value == pytest.approx(0.375)
    assert gap.win_rate_difference.is_above(0.0)
    judge, other = (summarise_source(rows, source, 0.95) for source in ("judge", "independent_judge"))
    assert judge is not None
    assert other is not None
    assert [value(part) for part in (other.win, other.tie, other.loss, other.win_rate)] == [
        0.25,
        0.25,
        0.5,
        0.375,
    ]
    assert (value(judge.order_consistency), value(other.order_consistency)) == (0.75, 0.0)


def test_a_source_that_says_nothing_is_left_out_and_one_that_says_little_says_how_much_is_missing() -> None:
    rows = [make_row(0, p_judge=0.8), make_row(1), make_row(2, aligned_text="No.")]
    judge = summarise_source(rows, "judge", 0.95)
    assert judge is not None
    assert (judge.num_missing, judge.win_rate.value, judge.tie.value) == (1, 0.75, 0.5)
    assert summarise_source(rows, "independent_judge", 0.95) is None
    assert find_judge_gaps(rows, 0.95) == ()


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value
