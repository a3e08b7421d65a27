"""The judge beside the policy's own likelihoods, with numbers worked by hand."""

import pytest

from rlaif_dagster.judge_quality.against_policy import PairLikelihoods, compare_with_policy
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts
from tests.judge_quality.made_up import make_question


def make_rows() -> list[JudgedRow]:
    """The ground truth is a, b, a; the judge is right twice, and in one order of the third; a fourth pair has none."""
    return [
        *make_question(PairFacts(pair_id="p1", ground_truth="a"), "12"),
        *make_question(PairFacts(pair_id="p2", ground_truth="b"), "21"),
        *make_question(PairFacts(pair_id="p3", ground_truth="a"), "11"),
        *make_question(PairFacts(pair_id="p4"), "12"),
    ]


def test_the_better_way_of_reading_likelihoods_stands_for_the_policy() -> None:
    """By totals right on p1 alone, with a tie on p3: 0.5 points; per token right on p1 and p2: 2/3.

    The judge has 1, 1, 0.5; the policy 1, 1, 0: the mean difference is 0.5 / 3.
    """
    likelihoods = {
        "p1": PairLikelihoods(total=(-1.0, -2.0), mean=(-0.1, -0.2)),
        "p2": PairLikelihoods(total=(-1.0, -2.0), mean=(-0.3, -0.2)),
        "p3": PairLikelihoods(total=(-1.0, -1.0), mean=(-0.3, -0.2)),
    }
    found = compare_with_policy(make_rows(), likelihoods)
    assert found is not None
    assert found["way"] == "mean"
    assert found["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["judge_minus_policy"]["judge"]["value"] == pytest.approx(0.5 / 3)
    assert found["judge_minus_policy"]["judge"]["n"] == 3


def test_without_ground_truth_nothing_is_compared() -> None:
    assert compare_with_policy(make_question(PairFacts(pair_id="p"), "12"), {}) is None
