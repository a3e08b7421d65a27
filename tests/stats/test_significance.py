"""Laws of the tests of significance."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from rlaif_dagster.stats.significance import correct_for_many, flip_signs

ROWS = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from("abcdefg")), max_size=14)


@given(rows=ROWS)
def test_the_p_values_are_those_of_all_exchanges_counted_one_by_one(rows: list[tuple[float, str]]) -> None:
    prompts = sorted({cluster for _, cluster in rows})
    found = sum(2 * y - 1 for y, _ in rows)
    totals = [
        sum((2 * y - 1) * signs[prompts.index(cluster)] for y, cluster in rows)
        for signs in itertools.product((-1, 1), repeat=len(prompts))
    ]
    test = flip_signs([y for y, _ in rows], [cluster for _, cluster in rows])
    assert test.p_different == pytest.approx(sum(abs(t) >= abs(found) for t in totals) / len(totals))
    assert test.p_worse == pytest.approx(sum(t <= found for t in totals) / len(totals))


def test_the_p_values_worked_by_hand() -> None:
    """Six prompts all lost: one exchange of 64 is as low, two are as far. Answers to one prompt count as one."""
    lost = flip_signs([0.0] * 6, range(6))
    assert (lost.p_worse, lost.p_different) == (1 / 64, 2 / 64)
    assert flip_signs([0.0] * 6, [1] * 6).p_worse == 0.5
    assert flip_signs([0.5] * 6, range(6)).p_worse == 1.0
    one_won = flip_signs([0.0] * 5 + [1.0] + [0.5] * 9, range(15))
    assert one_won.p_worse == (1 + 6) / 64  # all lost, or any one of the six won


def test_many_prompts_do_not_lose_precision() -> None:
    """300 lost and 200 won of 500: the binomial tail; 4.8e-6 by the normal law (z 4.43, continuity corrected)."""
    assert flip_signs([0.0] * 300 + [1.0] * 200, range(500)).p_worse == pytest.approx(4.5e-6, rel=0.15)


def test_holm_worked_by_hand() -> None:
    """0.01 * 3; then 0.02 * 2 = 0.04; then 0.03 * 1, but no less than the one before it."""
    assert correct_for_many([0.03, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    assert correct_for_many([]) == ()


def test_holm_is_that_of_statsmodels() -> None:
    p_values = np.random.default_rng(3).random(30) ** 4
    assert correct_for_many(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_what_is_no_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be tested"):
        flip_signs([0.3], ["a"])
