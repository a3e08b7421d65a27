"""Laws of the clustered intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.stats.intervals import (
    Estimate,
    clustered_bounded_mean,
    clustered_mean,
    clustered_proportion,
    exceeds,
    standard_error,
)

OBSERVATIONS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from("abcdef")), min_size=1, max_size=40
)
NUMBERS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.sampled_from("abcdef")), min_size=1, max_size=40)


def test_a_proportion_is_the_one_worked_by_hand() -> None:
    """Prompts a, b, c won twice, d lost twice.

    p = 3/4. Residual sums .5, .5, .5, -1.5: variance 4/3 * 3 / 64 = 1/16. Effective n = (3/16) / (1/16) = 3,
    times (1.959964 / 3.182446)^2 = 0.379293: 1.137878. Wilson: z^2 / n = 3.375983, centre
    (0.75 + 1.687992) / 4.375983 = 0.557130, half width
    1.959964 * sqrt(0.164780 + 0.741729) / 4.375983 = 0.426440.
    """
    estimate = clustered_proportion([1, 1, 1, 1, 1, 1, 0, 0], list("aabbccdd"))
    assert estimate.value == 0.75
    assert estimate.low == pytest.approx(0.130690, abs=2e-6)
    assert estimate.high == pytest.approx(0.983570, abs=2e-6)
    assert (estimate.n, estimate.num_clusters) == (8, 4)


def test_a_mean_is_the_one_worked_by_hand() -> None:
    """Mean 4; residual sums -4 and 4: variance 2 * 32 / 16 = 4; t(1) = 12.706205: 4 -+ 25.412409."""
    estimate = clustered_mean([1, 3, 5, 7], list("aabb"))
    assert estimate.value == 4.0
    assert estimate.low == pytest.approx(-21.412409, abs=1e-5)
    assert estimate.high == pytest.approx(29.412409, abs=1e-5)


def test_with_one_observation_a_cluster_the_mean_has_the_ordinary_t_interval() -> None:
    """1, 2, 3, 4: s^2 = 5/3; t(3) = 3.182446; half width 3.182446 * sqrt(5 / 12) = 2.054260."""
    estimate = clustered_mean([1, 2, 3, 4], list("abcd"))
    assert estimate.high == pytest.approx(2.5 + 2.054260, abs=1e-5)


def test_all_wins_count_as_many_as_there_are_prompts() -> None:
    """Wilson's lower end at p = 1 is n / (n + z^2): 10 / 13.841459 = 0.722467, with any number of answers."""
    for repeats in (1, 7):
        estimate = clustered_proportion([1.0] * 10 * repeats, list(range(10)) * repeats)
        assert (estimate.value, estimate.high) == (1.0, 1.0)
        assert estimate.low == pytest.approx(0.722467, abs=1e-6)


@given(observations=OBSERVATIONS, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_an_interval_of_a_proportion_is_never_degenerate(
    observations: list[tuple[float, str]], confidence: float
) -> None:
    values, clusters = zip(*observations, strict=True)
    estimate = clustered_proportion(values, clusters, confidence=confidence)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert estimate.high - estimate.low > 0.02


@given(observations=OBSERVATIONS, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_a_proportion_is_never_surer_than_as_many_independent_values(
    observations: list[tuple[float, str]], confidence: float
) -> None:
    """Wilson's interval on n values: p (1 - p) / n and so on, with z of the confidence (Wilson 1927)."""
    values, clusters = zip(*observations, strict=True)
    estimate = clustered_proportion(values, clusters, confidence=confidence)
    n, p = len(values), sum(values) / len(values)
    z = {0.8: 1.2815516, 0.95: 1.9599640, 0.99: 2.5758293}[confidence]
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = read_ends(estimate)
    assert low <= max(centre - half, 0.0) + 1e-6
    assert high >= min(centre + half, 1.0) - 1e-6


def test_where_alike_answers_to_each_prompt_cancel_out_the_interval_is_wilsons() -> None:
    """Each of 4 prompts is won once and lost once: no variance between prompts, and that is no certainty.

    n is the number of prompts, 4: z^2 / n = 0.960365, centre 1/2, half width
    1.959964 sqrt(1/16 + 0.960365 / 16) / 1.960365 = 0.349961.
    """
    low, high = read_ends(clustered_proportion([1, 0] * 4, list("aabbccdd")))
    assert (low, high) == pytest.approx((0.150039, 0.849961), abs=2e-6)


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        ([1.0, 0.0, 1.0, 1.0, 0.5, 0.0], "abcdef"),
        ([1.0, 1.0, 0.0, 0.0, 1.0, 0.5], "aabbcc"),
        ([0.5] * 6, "abcdef"),  # nothing varies
        ([1.0] * 6, "aabbcc"),
        ([0.5, 0.5], "aa"),  # one prompt
    ],
)
def test_the_more_confidence_is_asked_for_the_wider_the_interval(values: list[float], clusters: str) -> None:
    for estimate in (
        clustered_proportion,
        lambda *data, confidence: clustered_bounded_mean(*data, bounds=(-3.0, 3.0), confidence=confidence),
    ):
        ends = [read_ends(estimate(values, list(clusters), confidence=c)) for c in (0.5, 0.8, 0.95, 0.99)]
        widths = [high - low for low, high in ends]
        assert widths == sorted(set(widths))


@given(observations=OBSERVATIONS)
def test_counting_losses_mirrors_counting_wins(observations: list[tuple[float, str]]) -> None:
    values, clusters = zip(*observations, strict=True)
    wins = clustered_proportion(values, clusters)
    losses = clustered_proportion([1.0 - value for value in values], clusters)
    assert wins.low is not None
    assert wins.high is not None
    assert (losses.value, losses.low, losses.high) == pytest.approx(
        (1 - wins.value, 1 - wins.high, 1 - wins.low), abs=1e-9
    )


@given(observations=NUMBERS, chance=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(observations: list[tuple[float, str]], chance: object) -> None:
    shuffled = list(observations)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert clustered_mean(*zip(*observations, strict=True)) == clustered_mean(*zip(*shuffled, strict=True))


@given(outcomes=st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=20), copies=st.integers(2, 5))
def test_copies_of_a_comparison_add_no_information(outcomes: list[float], copies: int) -> None:
    prompts = list(range(len(outcomes)))
    for estimate in (clustered_proportion, clustered_mean):
        once = estimate(outcomes, prompts)
        often = estimate(outcomes * copies, prompts * copies)
        assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """50 prompts of 4 answers, each prompt with its own win probability ~ Beta(2.1, 0.9), mean 0.7, ICC 0.25.

    Over 1500 draws a 95 % interval must hold 0.7 in 93 to 97.5 % of them (3 standard errors of slack); an
    interval that takes the answers as independent does not reach 91 %.
    """
    chance = np.random.default_rng(20)
    prompts = np.repeat(np.arange(50), 4).tolist()
    answers = list(range(200))
    hits = {"proportion": 0, "mean": 0, "unclustered": 0}
    draws = 1500
    for _ in range(draws):
        outcomes = (chance.random(200) < np.repeat(chance.beta(2.1, 0.9, 50), 4)).astype(float).tolist()
        hits["proportion"] += _covers(clustered_proportion(outcomes, prompts), 0.7)
        hits["mean"] += _covers(clustered_mean(outcomes, prompts), 0.7)
        hits["unclustered"] += _covers(clustered_proportion(outcomes, answers), 0.7)
    coverage = {name: count / draws for name, count in hits.items()}
    assert 0.93 <= coverage["proportion"] <= 0.975, coverage
    assert 0.93 <= coverage["mean"] <= 0.975, coverage
    assert coverage["unclustered"] < 0.91, coverage


def test_one_cluster_leaves_the_interval_of_a_mean_unknown() -> None:
    estimate = clustered_mean([1.0, 2.0], ["a", "a"])
    assert (estimate.value, estimate.low, estimate.high) == (1.5, None, None)
    assert not estimate.is_above(0.0)
    assert not estimate.is_below(9.0)


@pytest.mark.parametrize(
    ("values", "clusters", "confidence", "message"),
    [
        ([], [], 0.95, "^an estimate needs at least one value"),
        ([1.0], ["a", "b"], 0.95, "argument 2 is longer"),
        ([1.5], ["a"], 0.95, r"^a proportion's values must be in \[0, 1\]$"),
        ([math.nan], ["a"], 0.95, r"^a proportion's values must be in \[0, 1\]$"),
        ([1.0], ["a"], 1.0, r"^confidence is 1\.0: "),
        ([1.0], ["a"], 0.0, r"^confidence is 0\.0: "),
    ],
)
def test_what_cannot_be_estimated_is_refused(
    values: list[float], clusters: list[str], confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_proportion(values, clusters, confidence=confidence)


def test_a_mean_takes_any_finite_number_and_no_other() -> None:
    assert clustered_mean([-1e6, 1e6], ["a", "b"]).value == 0.0
    with pytest.raises(ValueError, match=r"^an estimate's values must be finite$"):
        clustered_mean([1.0, math.inf], ["a", "b"])


def test_the_standard_error_is_the_one_worked_by_hand() -> None:
    """Mean 4; residual sums -4 and 4: variance 2 * 32 / 16 = 4. With one cluster nobody knows it."""
    assert standard_error([1, 3, 5, 7], list("aabb")) == 2.0
    assert standard_error([1, 3, 5, 7], list("aaaa")) is None


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [((0.0, 5.0), 0.445740, 4.554260), ((1.0, 5.0), 1.0, 4.554260), ((0.0, 4.0), 0.445740, 4.0)],
)
def test_a_bounded_mean_has_the_t_interval_cut_at_the_bounds(
    bounds: tuple[float, float], low: float, high: float
) -> None:
    """1, 2, 3, 4: 2.5 -+ 2.054260."""
    estimate = clustered_bounded_mean([1, 2, 3, 4], list("abcd"), bounds=bounds)
    assert (estimate.value, estimate.n, estimate.num_clusters) == (2.5, 4, 4)
    assert read_ends(estimate) == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize("clusters", [range(10), [*range(10)] * 3])
def test_where_nothing_varies_a_bounded_mean_reaches_as_far_as_unseen_clusters_could_take_it(
    clusters: Sequence[int],
) -> None:
    """Wilson's upper bound for 0 of 10 is z^2 / (n + z^2) = 3.841459 / 13.841459 = 0.277533: 1 - 4w and 1 + 2w."""
    estimate = clustered_bounded_mean([1.0] * len(clusters), clusters, bounds=(-3.0, 3.0))
    assert estimate.value == 1.0
    assert read_ends(estimate) == pytest.approx((1 - 4 * 0.277533, 1 + 2 * 0.277533), abs=5e-6)


def test_with_one_cluster_a_bounded_mean_says_little_and_a_mean_nothing() -> None:
    """w = z^2 / (1 + z^2) = 3.841459 / 4.841459 = 0.793451; bounds 0 and 4 around the mean 1."""
    estimate = clustered_bounded_mean([0.5, 1.5], ["a", "a"], bounds=(0.0, 4.0))
    assert read_ends(estimate) == pytest.approx((1 - 0.793451, 1 + 3 * 0.793451), abs=5e-6)


def test_a_mean_that_rounding_takes_past_a_bound_is_the_bound() -> None:
    assert clustered_mean([0.1] * 3, list("abc")).value > 0.1
    estimate = clustered_bounded_mean([0.1] * 3, list("abc"), bounds=(0.0, 0.1))
    assert (estimate.value, estimate.high) == (0.1, 0.1)


def test_one_win_among_many_ties_is_information() -> None:
    """20000 comparisons of 10000 prompts, all but one even: no less sure than 20000 independent ones.

    z^2 / n = 0.000192: half width 1.959964 sqrt(1/80000 + 0.000192 / 80000) / 1.000192 = 0.006929.
    """
    values = [1.0, *[0.5] * 19_999]
    low, high = read_ends(clustered_proportion(values, [place // 2 for place in range(20_000)]))
    assert high - low == pytest.approx(2 * 0.006929, abs=2e-6)


@pytest.mark.parametrize(
    ("value", "bound", "is_above"), [(0.55, 0.5, True), (0.5, 0.5, False), (0.45, 0.5, False)]
)
def test_a_value_exceeds_a_bound_that_it_lies_above_by_more_than_rounding(
    value: float, bound: float, is_above: bool
) -> None:
    assert exceeds(value, bound) is is_above
    assert exceeds(value - bound, 0.0) is is_above
    assert 0.55 - 0.5 > 0.05
    assert not exceeds(0.55 - 0.5, 0.05)
    assert exceeds(0.05 + 1e-11, 0.05)


def test_an_interval_is_above_or_below_a_bound_if_no_part_of_it_is_on_the_bound() -> None:
    estimate = Estimate(value=0.6, low=0.5, high=0.7, n=3, num_clusters=3)
    assert [estimate.is_above(bound) for bound in (0.49, 0.5, 0.6, 0.7)] == [True, False, False, False]
    assert [estimate.is_below(bound) for bound in (0.5, 0.6, 0.7, 0.71)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"low": 0.6, "high": 0.7}, r"^0\.5 lies outside its interval"),
        ({"low": 0.3, "high": 0.4}, r"^0\.5 lies outside its interval"),
        ({"low": None}, r"^an interval has both ends or none$"),
        ({"high": None}, r"^an interval has both ends or none$"),
        ({"num_clusters": 0}, r"^0 clusters of 3 observations"),
        ({"num_clusters": 4}, r"^4 clusters of 3 observations"),
    ],
)
def test_an_estimate_that_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "num_clusters": 3}
    Estimate(**sound)
    with pytest.raises(ValueError, match=message):
        Estimate(**sound | changed)


def test_an_estimate_may_lie_on_an_end_of_its_interval_and_have_one_cluster() -> None:
    for low, high in ((0.5, 0.6), (0.4, 0.5), (None, None)):
        assert Estimate(value=0.5, low=low, high=high, n=1, num_clusters=1).value == 0.5


def _covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def read_ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high
