"""A jury: combines the verdicts of several judges on one question into one P(a preferred).

- `mean`: the mean of the judges' probabilities.
- `majority`: the share of their votes for a. A judge votes for the side that its probability favours, and half for each
  if it is 0.5.
- `reliability`: votes weighted by the log-odds that the judge is right, the best rule for judges with independent
  errors (Nitzan and Paroush 1982, International Economic Review 23): P(a preferred) = sigmoid(sum of w v), with
  v = 1 for a, -1 for b, 0 for neither, and w = ln(p / (1 - p)). p is how often a judge that has an opinion is right; it
  is estimated from the judges' agreement (`estimate_accuracies`).

With every rule, exchanging the responses' names turns the probability into its complement.

Known trade-off (accepted): judges with common errors, such as two sizes of one model, count as if their errors were
independent. Then `reliability` is too sure of what they share; an audit against the ground truth shows it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Self

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.settings import Combine
from rlaif_dagster.judging.verdicts import HARD_PROBABILITY, Order, Verdict, lean

MIN_JUDGES: Final = 3
"""Fewer judges have equal weights: if two disagree, nothing shows which of them is wrong."""
ACCURACY_RANGE: Final = (0.5, 0.99)
"""A judge worse than chance has no vote, rather than the opposite one; and no judge counts as infallible."""
BALLOT_DECIMALS: Final = 12
"""Decimals to which probabilities are rounded, above the rounding noise of 1 - p."""
ACCURACY_DECIMALS: Final = 6
"""Decimals to which accuracies are rounded, well above where the estimation stops."""
_TOLERANCE: Final = 1e-9
_MAX_STEPS: Final = 1_000

Ballots = Mapping[str | None, Mapping[str, Mapping[Order, float]]]
"""P(a preferred) of one pair by principle, judge and order, over repeats."""
_Opinions = tuple[tuple[str, int], ...]
"""For each judge that has an opinion, sorted by name: 1 for a, -1 for b."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jury:
    """How the verdicts of several judges are combined.

    Attributes:
        combine: The rule.
        accuracies: The estimated accuracy of each judge's votes, for `reliability`; without any, votes have equal
            weight.
    """

    combine: Combine = "mean"
    accuracies: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_verdicts(cls, combine: Combine, verdicts: Iterable[Verdict]) -> Self:
        """Forms a jury; reads the verdicts, which must be grouped by pair, only if accuracies are needed."""
        return cls(
            combine=combine, accuracies=estimate_accuracies(verdicts) if combine == "reliability" else {}
        )

    def weigh(self, probabilities: Mapping[str, float]) -> float:
        """Combines P(a preferred) by judge, of at least one judge, into one."""
        if self.combine == "mean":
            return math.fsum(probabilities.values()) / len(probabilities)
        votes = {judge: HARD_PROBABILITY[lean(value)] for judge, value in probabilities.items()}
        if not self.accuracies:
            return math.fsum(votes.values()) / len(votes)
        return _sigmoid(
            math.fsum(
                _log_odds(self.accuracies.get(judge, ACCURACY_RANGE[0])) * (2 * vote - 1)
                for judge, vote in votes.items()
            )
        )


def group_by_pair(verdicts: Iterable[Verdict]) -> Iterator[list[Verdict]]:
    """Yields the verdicts of each pair, with one pair in memory at a time.

    Raises:
        JudgeError: If the verdicts are not grouped by pair.
    """
    seen: set[str] = set()
    for pair_id, group in groupby(verdicts, key=lambda verdict: verdict.pair_id):
        if pair_id in seen:
            raise JudgeError(
                f"the verdicts of pair {pair_id} are not next to each other; remedy: sort the verdicts by pair"
            )
        seen.add(pair_id)
        yield list(group)


def collect_ballots(group: Iterable[Verdict]) -> Ballots:
    """Collects each judge's verdict on one pair by principle and order; repeats are averaged.

    Values are rounded, so that 0.7 in one order and 1 - 0.7 in the other are a tie, whichever response is called a.
    """
    found: dict[str | None, dict[str, dict[Order, list[float]]]] = {}
    for verdict in group:
        if (probability := verdict.probability_a) is not None:
            orders = found.setdefault(verdict.principle_id, {}).setdefault(verdict.judge, {})
            orders.setdefault(verdict.order, []).append(probability)
    return {
        principle: {
            judge: {order: round(math.fsum(p) / len(p), BALLOT_DECIMALS) for order, p in orders.items()}
            for judge, orders in judges.items()
        }
        for principle, judges in found.items()
    }


def estimate_accuracies(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Estimates how often each judge's vote is right, from the votes alone.

    Expectation-maximisation with one accuracy for each judge (the one-coin form of Dawid and Skene 1979, Applied
    Statistics 28); both answers are equally likely to be better beforehand. Each pair and principle has one true
    answer, and a judge has one opinion on it: that of both orders together. If its orders contradict each other it has
    none, as with a tie; so a judge that always takes the first answer never has an opinion, and no vote. One right and
    one wrong opinion are added for each judge (Laplace), so that few opinions make no certainty. The estimation starts
    with equal judges, and uses no random numbers.

    Args:
        verdicts: Verdicts, grouped by pair.

    Returns:
        The share of each judge's opinions that are right, within ACCURACY_RANGE; empty if fewer than MIN_JUDGES judges
        have opinions.
    """
    counts: Counter[_Opinions] = Counter()
    for group in group_by_pair(verdicts):
        for judges in collect_ballots(group).values():
            opinions = tuple(
                sorted((judge, side) for judge, orders in judges.items() if (side := _choose_side(orders)))
            )
            mirrored = tuple((judge, -opinion) for judge, opinion in opinions)
            counts[max(opinions, mirrored)] += 1  # the names a and b have no meaning: one pattern for both
    names = sorted({judge for opinions in counts for judge, _ in opinions})
    if len(names) < MIN_JUDGES:
        return {}
    return _maximise(sorted(counts.items()), names)


def _choose_side(orders: Mapping[Order, float]) -> int:
    """Returns 1 for a, -1 for b, 0 if both or neither are chosen."""
    chosen = {lean(p_a) for p_a in orders.values()}
    return ("first" in chosen) - ("second" in chosen)


def _maximise(patterns: Sequence[tuple[_Opinions, int]], names: Sequence[str]) -> dict[str, float]:
    """Iterates expectation and maximisation to convergence, starting with equal judges."""
    totals = {name: sum(count for opinions, count in patterns if name in dict(opinions)) for name in names}
    accuracies = dict.fromkeys(names, ACCURACY_RANGE[1])
    for _ in range(_MAX_STEPS):
        right = {name: [1.0] for name in names}
        for opinions, count in patterns:
            p_a = _sigmoid(math.fsum(_log_odds(accuracies[name]) * opinion for name, opinion in opinions))
            for name, opinion in opinions:
                right[name].append(count * (0.5 + opinion * (p_a - 0.5)))
        before = accuracies
        accuracies = {name: _clip(math.fsum(right[name]) / (totals[name] + 2)) for name in names}
        if max(abs(accuracies[name] - before[name]) for name in names) < _TOLERANCE:
            break
    return {name: round(accuracy, ACCURACY_DECIMALS) for name, accuracy in accuracies.items()}


def _clip(accuracy: float) -> float:
    return min(max(accuracy, ACCURACY_RANGE[0]), ACCURACY_RANGE[1])


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
