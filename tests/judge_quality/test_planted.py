"""A bias that was planted is found: the audit of simulated judges whose bias is known."""

import math
from dataclasses import dataclass
from random import Random

import pytest

from rlaif_dagster.judge_quality.bias import measure_length_preference, measure_self_preference
from rlaif_dagster.judge_quality.calibration import list_soft_labels, measure_calibration
from rlaif_dagster.judge_quality.figures import Figure
from rlaif_dagster.judge_quality.orders import measure_orders
from rlaif_dagster.judge_quality.rows import JudgedRow, Label, PairFacts
from rlaif_dagster.judge_quality.summary import measure_verdicts
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import ORDERS, Order
from rlaif_dagster.seeds import derive_seed

NUM_PAIRS = 300
NUM_WORLDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedJudge:
    """Takes the first, the longer or its own answer with some chance, else the ground-truth one with some chance."""

    position_bias: float = 0.0
    length_bias: float = 0.0
    self_bias: float = 0.0
    failure_rate: float = 0.0
    skill: float = 0.9

    def judge(self, pair: PairFacts, order: Order, random: Random) -> Preference | None:
        if random.random() < self.failure_rate:
            return None
        if random.random() < self.position_bias:
            return "first"
        choice = pair.ground_truth
        if random.random() >= self.skill:
            choice = "b" if pair.ground_truth == "a" else "a"
        if random.random() < self.length_bias:
            choice = pair.longer
        if random.random() < self.self_bias:
            choice = "a" if pair.source_a == "judge" else "b"
        return "first" if choice == order[0] else "second"


def simulate(judge: PlantedJudge, world: int, *, num_pairs: int = NUM_PAIRS) -> list[JudgedRow]:
    random = Random(derive_seed(world, "audit"))  # noqa: S311
    rows = []
    for number in range(num_pairs):
        own, other = random.sample(["judge", "other"], 2)
        ground_truth: Label = "a" if random.random() < 0.5 else "b"
        pair = PairFacts(
            pair_id=f"p{number}",
            ground_truth=ground_truth,
            len_a=random.randint(1, 10**6),
            len_b=random.randint(1, 10**6),
            source_a=own,
            source_b=other,
        )
        rows += [
            JudgedRow(pair=pair, judge="judge", order=order, verdict=judge.judge(pair, order, random))
            for order in ORDERS
        ]
    return rows


def covers(figure: Figure, truth: float) -> bool:
    return figure.low is not None and figure.high is not None and figure.low <= truth <= figure.high


def check_coverage(num_covered: int) -> None:
    """95 % of the worlds, within three standard errors."""
    assert num_covered / NUM_WORLDS == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / NUM_WORLDS))


def test_a_position_bias_of_30_percent_with_10_percent_failures_is_recovered() -> None:
    rows = simulate(PlantedJudge(position_bias=0.3, failure_rate=0.1), 1, num_pairs=2000)
    figures = measure_verdicts(rows).judges["judge"]
    assert covers(figures["position_bias"], 0.3)
    assert covers(figures["unparsed"], 0.1)
    assert figures["position_p_value"].value is not None
    assert figures["position_p_value"].value < 1e-6
    bias = figures["position_bias"]
    assert bias.low is not None
    assert bias.high is not None
    assert bias.high - bias.low < 0.06


@pytest.mark.slow
def test_the_interval_of_the_position_bias_covers_what_was_planted() -> None:
    judge = PlantedJudge(position_bias=0.3, failure_rate=0.1)
    worlds = [measure_orders(simulate(judge, world)) for world in range(NUM_WORLDS)]
    check_coverage(sum(covers(figures["position_bias"], 0.3) for figures in worlds))


@pytest.mark.slow
def test_a_judge_without_position_bias_is_seldom_accused_of_it() -> None:
    worlds = [measure_orders(simulate(PlantedJudge(), world)) for world in range(NUM_WORLDS)]
    accused = sum((figures["position_p_value"].value or 1.0) < 0.05 for figures in worlds)
    assert accused <= 8


def test_a_planted_length_bias_is_recovered_with_ground_truth_held_fixed() -> None:
    """With chance x the longer one, else right with 0.9: x + (1 - x) * 0.9 where right, else x + (1 - x) * 0.1."""
    expected = 0.4 + 0.6 * 0.5
    worlds = [
        measure_length_preference(simulate(PlantedJudge(length_bias=0.4), world))
        for world in range(NUM_WORLDS)
    ]
    check_coverage(sum(covers(figures["prefers_longer_ground_truth_fixed"], expected) for figures in worlds))


def test_a_planted_self_preference_is_recovered_against_the_ground_truth() -> None:
    """Own answers win 0.5 by the ground truth and by skill alone: with chance x always, so x / 2 too often."""
    worlds = [
        measure_self_preference("judge", simulate(PlantedJudge(self_bias=0.3), world), {})
        for world in range(NUM_WORLDS)
    ]
    check_coverage(sum(covers(figures["self_preference_ground_truth"], 0.15) for figures in worlds))


def test_honest_probabilities_are_calibrated_and_overconfident_ones_are_not() -> None:
    """The ground truth is drawn with the probability told; told as 0.95 where it is 0.75, the error is 0.2."""
    random = Random(derive_seed(3, "calibration"))  # noqa: S311
    honest, bold = [], []
    for number in range(4000):
        p_a = random.choice([0.25, 0.75])
        ground_truth: Label = "a" if random.random() < p_a else "b"
        row = JudgedRow(
            pair=PairFacts(pair_id=f"p{number}", ground_truth=ground_truth),
            judge="judge",
            order="ab",
            verdict="first",
            p_first=p_a,
        )
        honest.append(row)
        bold.append(
            JudgedRow(
                pair=row.pair, judge="judge", order="ab", verdict="first", p_first=0.95 if p_a > 0.5 else 0.05
            )
        )
    good, bad = (measure_calibration(list_soft_labels(rows)) for rows in (honest, bold))
    assert good["ece"].value is not None
    assert good["ece"].value < 0.02
    assert covers(good["brier"], 0.75 * 0.25)
    assert covers(bad["ece"], 0.2)
