"""Laws of the length-controlled win rate."""

import gzip
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.evaluation.length_control import LengthControl, control_length
from tests.judge_quality.real_data import BASELINE, MISSING, REAL, convert_mtbench

OUTCOMES = st.sampled_from([0.0, 0.5, 1.0, 0.3])
ROWS = st.lists(
    st.tuples(OUTCOMES, st.integers(-40, 40), st.sampled_from("abcdefg")), min_size=3, max_size=25
)


def fit(rows: Sequence[tuple[float, float, str]]) -> LengthControl | None:
    wins, differences, clusters = zip(*rows, strict=True)
    return control_length(wins, differences, clusters)


def sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


@given(rows=ROWS)
def test_the_fit_solves_the_equations_of_the_model_and_its_prior(
    rows: list[tuple[float, float, str]],
) -> None:
    """By hand: sum(y - mu) + (1/2 - sigmoid(theta)) = 0, and sum(x (y - mu)) + (1/2 - sigmoid(phi)) = 0."""
    found = fit(rows)
    if found is None:
        return
    theta = math.log(found.win_rate.value / (1 - found.win_rate.value))
    phi = found.length_effect.value
    terms = [math.tanh(difference / found.length_scale) for _, difference, _ in rows]
    left = [y - sigmoid(theta + phi * x) for (y, _, _), x in zip(rows, terms, strict=True)]
    assert sum(left) + 0.5 - sigmoid(theta) == pytest.approx(0, abs=1e-10)
    slope = sum(x * rest for x, rest in zip(terms, left, strict=True))
    assert slope + 0.5 - sigmoid(phi) == pytest.approx(0, abs=1e-10)


@given(rows=ROWS, unit=st.sampled_from([0.25, 8.0]))
def test_exchanging_the_answers_mirrors_the_win_rate_and_the_unit_of_length_is_free(
    rows: list[tuple[float, float, str]], unit: float
) -> None:
    ours = fit(rows)
    theirs = fit([(1 - y, -difference * unit, cluster) for y, difference, cluster in rows])
    if ours is None or theirs is None:
        assert ours is theirs
        return
    assert interval(theirs) == pytest.approx([1 - p for p in reversed(interval(ours))], abs=1e-6)
    assert theirs.length_effect.value == pytest.approx(ours.length_effect.value, abs=1e-6)
    assert theirs.length_scale == pytest.approx(ours.length_scale * unit)


@given(rows=ROWS, chance=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[tuple[float, float, str]], chance: object) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fit(shuffled) == fit(rows)


def test_a_judge_that_goes_by_length_leaves_an_even_win_rate() -> None:
    """The longer answer wins 9 of 10 whoever gave it, and aligned is longer in 300 of 400: 70 % as it is.

    Both lengths differ by 10: theta + phi t = logit 0.9, theta - phi t = logit 0.1, hence theta = 0. The prior's half
    observation moves this by less than 0.5 / (400 * 0.09 * 3/4), two hundredths of a log-odd.
    """
    rows = [(float(place % 10 > 0), 10.0, f"p{place}") for place in range(300)]
    rows += [(float(place % 10 == 0), -10.0, f"q{place}") for place in range(100)]
    found = fit(rows)
    assert found is not None
    assert sum(row[0] for row in rows) / len(rows) == 0.7
    assert interval(found)[0] < 0.5 < interval(found)[2]
    assert interval(found)[1] == pytest.approx(0.5, abs=0.005)
    assert found.length_effect.is_above(0.0)


@pytest.mark.slow
def test_the_simulated_truth_is_found_and_covered() -> None:
    """Truth: theta = 0.4, phi = 1.5, lengths ~ N(8, 10): sigmoid(0.4) = 0.5987 at equal length.

    60 prompts of 3 answers; the answers to one prompt share one uniform number, so they are as alike as the model
    allows, and each row's win probability is still the model's. Over 300 draws the mean of the estimates lies within 4
    standard errors of the truth plus the prior's pull (below 0.25 / 180 = 0.0014 of a win rate for one half-won row in
    180, twice that for the two), and a 95 % interval covers it in at least 0.95 - 4 sqrt(0.95 0.05 / 300) = 0.8997.
    The plain win rate is off: its truth is E sigmoid(0.4 + 1.5 tanh(d / 10)), d ~ N(8, 10), which is above 0.68.
    """
    chance = np.random.default_rng(4)
    prompts = np.repeat(np.arange(60), 3)
    truth, scale = sigmoid(0.4), 10.0
    estimates, plain, covered = [], [], 0
    for _ in range(300):
        differences = chance.normal(8, scale, 180)
        drawn = np.repeat(chance.random(60), 3)
        wins = (drawn < 1 / (1 + np.exp(-0.4 - 1.5 * np.tanh(differences / scale)))).astype(float)
        found = control_length(wins.tolist(), differences.tolist(), prompts.tolist())
        assert found is not None
        low, value, high = interval(found)
        estimates.append(value)
        plain.append(wins.mean())
        covered += low <= truth <= high
    error = float(np.std(estimates)) / math.sqrt(300)
    assert abs(float(np.mean(estimates)) - truth) < 4 * error + 0.003
    assert covered / 300 >= 0.8997
    assert float(np.mean(plain)) > 0.68


def test_winning_everything_is_no_certainty() -> None:
    """20 prompts, all won: the rule of three says a 95 % one-sided bound of 1 - 3/20 = 0.85; ours is two-sided."""
    rows = [(1.0, float(place % 5), f"p{place}") for place in range(20)]
    once, often = fit(rows), fit(rows * 3)
    assert once is not None
    assert often is not None
    assert interval(once)[0] < 0.85 < interval(once)[1]
    assert interval(often)[0] < 0.9  # three equal answers to a prompt are not three times the evidence


@pytest.mark.parametrize("num_prompts", [4, 20, 60])
@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_wins_leave_the_interval_no_narrower(num_prompts: int, copies: int) -> None:
    """Answers that are alike are no more evidence, and the prior of half a loss weighs less beside more of them."""
    rows = [(1.0, float(place % 5), f"p{place}") for place in range(num_prompts)]
    once, often = fit(rows), fit(rows * copies)
    assert once is not None
    assert often is not None
    assert interval(often)[0] <= interval(once)[0]
    assert interval(often)[2] >= interval(once)[2]
    assert once.length_effect.low is not None
    assert once.length_effect.high is not None
    assert often.length_effect.low is not None
    assert often.length_effect.high is not None
    assert often.length_effect.low <= once.length_effect.low
    assert often.length_effect.high >= once.length_effect.high


@pytest.mark.parametrize("size", [1.0, 1e6, 1e-6])
def test_length_differences_that_are_equal_but_for_rounding_are_one_difference(size: float) -> None:
    differences = [0.3 * size, (0.1 + 0.2) * size, 0.3 * size * (1 + 2**-50)]
    assert len(set(differences)) > 1
    assert fit(list(zip([1.0, 0.0, 1.0], differences, "abc", strict=True))) is None


@pytest.mark.parametrize(
    "rows",
    [
        [(1.0, 1.0, "a"), (0.0, 2.0, "b")],
        [(1.0, 1.0, "a"), (0.0, 2.0, "a"), (0.0, 3.0, "a")],
        [(1.0, 3.0, "a"), (0.0, 3.0, "b"), (0.5, 3.0, "c")],
        [(1.0, 0.0, "a"), (0.0, 0.0, "b"), (0.5, 0.0, "c")],
    ],
    ids=["two rows", "one prompt", "one difference", "no difference"],
)
def test_what_lengths_do_not_show_is_none(rows: list[tuple[float, float, str]]) -> None:
    assert fit(rows) is None


@pytest.mark.parametrize(
    ("rows", "about_theta", "about_phi"),
    [
        # Each row its own prompt: theta 0.8^2 x 4 x 0.25 x 4/3 = 0.853333, phi not below its floor; t(3) = 3.182446.
        ([(1.0, 10, "a"), (0.0, 10, "b"), (1.0, -10, "c"), (0.0, -10, "d")], 2.939818, 3.493135),
        # The rows of each prompt cancel out: the floor; t(1) = 12.706205.
        ([(1.0, 10, "a"), (0.0, 10, "a"), (1.0, -10, "b"), (0.0, -10, "b")], 11.364775, 13.946656),
        # Ties alone: two prompts count as two and not as four, so twice the floor.
        ([(0.5, 10, "a"), (0.5, 10, "a"), (0.5, -10, "b"), (0.5, -10, "b")], 16.072219, 19.723550),
    ],
    ids=["independent", "alike", "ties"],
)
def test_the_interval_is_the_one_worked_by_hand(
    rows: list[tuple[float, float, str]], about_theta: float, about_phi: float
) -> None:
    """Longer and shorter answers win half each: theta = phi = 0, and every win probability is 1/2.

    t = tanh(1) = 0.761594. The information is (4 + 1) / 4 for theta and (4 t^2 + 1) / 4 = 0.830026 for phi, with the
    prior's half observations: floors 0.8 and 1.204782.
    """
    found = fit(rows)
    assert found is not None
    assert found.length_scale == 10.0
    assert interval(found) == pytest.approx([sigmoid(-about_theta), 0.5, sigmoid(about_theta)], rel=1e-5)
    assert (found.length_effect.low, found.length_effect.high) == pytest.approx(
        (-about_phi, about_phi), rel=1e-6
    )
    assert (found.win_rate.n, found.win_rate.num_clusters) == (4, len({cluster for _, _, cluster in rows}))


def test_three_comparisons_of_two_prompts_are_enough() -> None:
    found = fit([(1.0, 1.0, "a"), (0.0, 2.0, "a"), (1.0, 4.0, "b")])
    assert found is not None
    assert (found.win_rate.n, found.win_rate.num_clusters) == (3, 2)


def test_arguments_of_different_lengths_are_refused() -> None:
    for wins, differences, clusters in (([1.0] * 3, [1, 2, 3, 4], "abc"), ([1.0] * 3, [1, 2, 3], "abcd")):
        with pytest.raises(ValueError, match="is longer than"):
            control_length(wins, differences, clusters)


def test_an_outcome_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="must be in"):
        control_length([1.1, 0.0, 0.0], [1, 2, 3], "abc")


def interval(found: LengthControl) -> list[float]:
    estimate = found.win_rate
    assert estimate.low is not None
    assert estimate.high is not None
    return [estimate.low, estimate.value, estimate.high]


@pytest.mark.skipif(not REAL.is_dir(), reason=MISSING)
def test_gpt_4_as_a_judge_likes_length_and_a_curt_model_is_given_its_due() -> None:
    """GPT-4's recorded verdicts on MT-bench: 30 models against one, 80 questions, both orders.

    Its taste for long answers is known (Dubois et al. 2024, and many others). gpt-3.5-turbo answers more briefly than
    the baseline: at equal length it does better than the 73.75 % that it wins.
    """
    with gzip.open(REAL / "mtbench_answers.jsonl.gz", "rt", encoding="utf-8") as lines:
        lengths = {
            (str(row["question_id"]), model): sum(len(text or "") for text in turns.values())
            for row in map(json.loads, lines)
            for model, turns in row["answers"].items()
        }
    points = {"a": 1.0, "b": 0.0, "tie": 0.5}
    rows: dict[tuple[str, str], list[float]] = {}
    for row in convert_mtbench():
        question, model = row["pair_id"].split("/", 1)
        won = {"ab": {"first": "a", "second": "b"}, "ba": {"first": "b", "second": "a"}}[row["order"]]
        rows.setdefault((question, model), []).append(points[won.get(row["verdict"], "tie")])
    table = {
        key: (sum(won) / 2, lengths[key] - lengths[key[0], BASELINE], key[0]) for key, won in rows.items()
    }
    everything = fit(list(table.values()))
    assert everything is not None
    assert everything.length_effect.n == 2400
    assert everything.length_effect.is_above(0.3)
    curt = [row for (_, model), row in table.items() if model == "gpt-3.5-turbo"]
    found = fit(curt)
    assert found is not None
    assert sum(won for won, _, _ in curt) / len(curt) == 0.7375
    assert found.win_rate.value == pytest.approx(0.809, abs=0.001)
