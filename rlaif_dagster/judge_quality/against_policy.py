"""Measures whether the judge is better than the policy whose answers it judges.

A policy's own judgement of two answers is which one has the higher likelihood. Likelihood can be that of the whole
answer or the mean of its tokens (the first favours short answers); the one that is right more often is used. Known
limit: a policy that is asked for its opinion may know more than its likelihoods show.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from rlaif_dagster.judge_quality.bias import score_pairs
from rlaif_dagster.judge_quality.figures import estimate_mean, estimate_share
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts, group_by_judge


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLikelihoods:
    """Log-likelihoods of the answers a and b of a pair under the policy, in nats.

    Attributes:
        total: The log-likelihoods of the whole answers.
        mean: The mean log-likelihoods per token.
    """

    total: tuple[float, float]
    mean: tuple[float, float]

    def score_a(self, way: Literal["total", "mean"]) -> float:
        """1 if a is more likely, 0 if b is, 0.5 if neither."""
        a, b = self.total if way == "total" else self.mean
        return 0.5 + 0.5 * ((a > b) - (a < b))


def compare_with_policy(
    rows: Iterable[JudgedRow], likelihoods: Mapping[str, PairLikelihoods]
) -> dict[str, Any] | None:
    """Compares judges with the policy on the pairs that have a ground truth and likelihoods.

    Points on a pair: 1 for the better answer, 0.5 for a tie; the mean over the orders.

    Args:
        rows: The judges' labels.
        likelihoods: By pair id.

    Returns:
        `accuracy` of the policy, the `way` that was used, and `judge_minus_policy` by judge, the mean difference of
        points, as figures; None if there is no such pair.
    """
    facts: dict[str, PairFacts] = {}
    judged = group_by_judge(
        row for row in rows if row.pair.ground_truth in ("a", "b") and row.pair.pair_id in likelihoods
    )
    for given in judged.values():
        facts.update((row.pair.pair_id, row.pair) for row in given)
    if not facts:
        return None
    points = {
        way: {name: _turn(likelihoods[name].score_a(way), facts[name]) for name in sorted(facts)}
        for way in ("total", "mean")
    }
    way = max(points, key=lambda name: fmean(points[name].values()))
    policy = points[way]
    return {
        "accuracy": estimate_share(list(policy.values()), [facts[name].cluster for name in policy]).to_json(),
        "way": way,
        "judge_minus_policy": {
            judge: estimate_mean(
                [_turn(score, facts[name]) - policy[name] for name, score in score_pairs(given).items()],
                [facts[name].cluster for name in score_pairs(given)],
                bounds=(-1.0, 1.0),
            ).to_json()
            for judge, given in judged.items()
        },
    }


def _turn(score_a: float, pair: PairFacts) -> float:
    """Converts points for a to points for the better answer."""
    return score_a if pair.ground_truth == "a" else 1.0 - score_a
