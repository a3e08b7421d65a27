"""Laws of the curve of best-of-n."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.evaluation.over_optimisation import (
    ScoredSample,
    choose_best,
    find_kl,
    trace_over_optimisation,
)

ANSWERS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.5, -3.0]), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=7,
)


@given(answers=ANSWERS, data=st.data())
def test_the_mean_is_that_over_all_choices_counted_one_by_one(
    answers: list[tuple[float, float]], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(answers)))
    means = []
    for chosen in itertools.combinations(answers, n):
        top = max(reward for reward, _ in chosen)
        values = [value for reward, value in chosen if reward == top]
        means.append(sum(values) / len(values))
    assert choose_best(answers, n) == pytest.approx(sum(means) / len(means))


def test_the_divergence_worked_by_hand() -> None:
    assert find_kl(1) == 0.0
    assert find_kl(2) == pytest.approx(math.log(2) - 0.5)
    assert find_kl(16) == pytest.approx(1.835, abs=5e-4)


def test_an_over_optimised_reward_model_is_seen() -> None:
    """Rewards 0 to 7; the truth rises to the sixth answer (0.9) and is 0.1 for the last two, which are hacks.

    By hand: best-of-1 is the mean, (0.4 + 0.5 + 0.6 + 0.7 + 0.8 + 0.9 + 0.1 + 0.1) / 8 = 0.5125; best-of-8 is 0.1.
    """
    truth = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1, 0.1]
    samples = [
        ScoredSample(prompt_id=f"p{prompt}", reward=float(rank), win_rate=value)
        for prompt in range(12)
        for rank, value in enumerate(truth)
    ]
    curve = trace_over_optimisation(samples, scorer="ground_truth")
    assert curve is not None
    assert [point.n for point in curve.points] == [1, 2, 4, 8]
    assert curve.points[0].win_rate.value == pytest.approx(0.5125)
    assert curve.points[-1].win_rate.value == pytest.approx(0.1)
    assert [point.reward.value for point in curve.points] == pytest.approx([3.5, 5.0, 6.2, 7.0])
    assert curve.best_n == 1
    assert curve.decline is not None
    assert curve.decline.value == pytest.approx(0.1 - 0.5125)
    assert curve.decline.is_below(0.0)


def test_a_good_reward_model_gains_all_the_way() -> None:
    chance = np.random.default_rng(5)
    samples = [
        ScoredSample(
            prompt_id=f"p{prompt}", reward=float(quality), win_rate=float(1 / (1 + np.exp(-quality)))
        )
        for prompt in range(40)
        for quality in chance.normal(0, 2, 6)
    ]
    curve = trace_over_optimisation(samples, scorer="ground_truth")
    assert curve is not None
    assert [point.n for point in curve.points] == [1, 2, 4, 6]
    assert curve.best_n == 6
    assert curve.decline is None
    assert curve.points[-1].win_rate.is_above(curve.points[0].win_rate.value)


def test_a_prompt_with_one_answer_gives_no_curve() -> None:
    assert (
        trace_over_optimisation(
            [ScoredSample(prompt_id="p", reward=1.0, win_rate=0.5)], scorer="ground_truth"
        )
        is None
    )
    assert trace_over_optimisation([], scorer="ground_truth") is None
