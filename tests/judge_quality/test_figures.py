"""Intervals: what they are where there is variance, and where there is none."""

import math

import numpy as np
import pytest

from rlaif_dagster.judge_quality.figures import (
    Figure,
    FloatArray,
    Kinds,
    estimate_count,
    estimate_mean,
    estimate_statistic,
    jackknife,
)


def test_a_figure_lies_in_its_interval() -> None:
    with pytest.raises(ValueError, match="outside its interval"):
        Figure(value=0.5, n=3, low=0.6, high=0.7)
    with pytest.raises(ValueError, match="both ends or none"):
        Figure(value=0.5, n=3, low=0.4)


def test_a_count_has_the_interval_of_its_share() -> None:
    """0 of 10: Wilson's upper bound is 1.96^2 / (10 + 1.96^2) = 0.2775."""
    count = estimate_count([False] * 10, [str(number) for number in range(10)])
    assert (count.value, count.n, count.low) == (0, 10, 0)
    assert count.high == pytest.approx(2.775, abs=1e-3)


def test_the_jackknife_of_a_mean_is_the_textbook_interval() -> None:
    """Of 0, 0, 1, 1, 1 the standard error is sqrt(0.3 / 5), t(4) = 2.776."""
    kinds = Kinds(contributions=np.array([[0.0, 1.0], [1.0, 1.0]]), counts=np.array([2, 3]))
    value, half = jackknife(kinds, lambda sums: sums[..., 0] / sums[..., 1])
    assert value == pytest.approx(0.6)
    assert half == pytest.approx(2.7764451 * math.sqrt(0.3 / 5))


def test_leaving_out_kinds_is_leaving_out_clusters_one_by_one() -> None:
    items = {f"p{number}": [(number % 3, number % 2)] * (1 + number % 2) for number in range(17)}

    def contribute(item: tuple[int, ...]) -> FloatArray:
        return np.array([item[0], item[1] + 1.0])

    def ratio(sums: FloatArray) -> FloatArray:
        return np.asarray(sums[..., 0] / sums[..., 1])

    rows = np.array([np.sum([contribute(item) for item in cluster], axis=0) for cluster in items.values()])
    one_by_one = Kinds(contributions=rows, counts=np.ones(17, dtype=np.int64))
    kinds = Kinds.from_items(items, contribute)
    assert len(kinds.counts) == 6
    assert jackknife(kinds, ratio) == pytest.approx(jackknife(one_by_one, ratio))


def test_a_statistic_without_variance_has_no_interval() -> None:
    kinds = Kinds(contributions=np.array([[1.0, 1.0]]), counts=np.array([9]))
    figure = estimate_statistic(kinds, lambda sums: sums[..., 0] / sums[..., 1], n=9, bounds=(0.0, 1.0))
    assert figure == Figure(value=1.0, n=9)


def test_a_mean_stays_within_its_bounds() -> None:
    figure = estimate_mean([1.0, 1.0, 1.0, 0.0], ["a", "b", "c", "d"], bounds=(-1.0, 1.0))
    assert (figure.value, figure.high) == (0.75, 1.0)


def test_equal_values_leave_room_for_what_was_not_seen() -> None:
    """Ten pairs at 0, bounds -1 and 1: Wilson's bound for 0 of 10 is 0.2775 on both sides."""
    figure = estimate_mean([0.0] * 10, [str(number) for number in range(10)], bounds=(-1.0, 1.0))
    assert (figure.low, figure.high) == pytest.approx((-0.2775, 0.2775), abs=1e-4)


def test_nothing_to_group_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to group"):
        Kinds.from_items({"p": []}, lambda item: np.array(item, dtype=np.float64))
