"""Tests whether two policies differ by more than chance: an exact paired test, and its correction for many tests."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

_EVEN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SignFlipTest:
    """How surprising a win rate is if the two policies are equal.

    Attributes:
        p_different: The probability of a win rate at least as far from one half, on either side.
        p_worse: The probability of a win rate at most as high.
    """

    p_different: float
    p_worse: float


def flip_signs(outcomes: Sequence[float], clusters: Sequence[Hashable]) -> SignFlipTest:
    """Tests whether two policies are equal, by Fisher's randomisation of paired comparisons, by cluster.

    If they are equal, exchanging them in all answers to a prompt changes nothing: each prompt's balance of wins and
    losses is as likely as its opposite. The p-value is the share of all such exchanges with a total at least as extreme
    as the observed one (Fisher 1935, The Design of Experiments, section 21). It is exact for any number of prompts and
    any dependence within a prompt; ties carry no information. At least five prompts are needed for significance at 5 %.

    Args:
        outcomes: The outcomes: 1, 0.5 or 0.
        clusters: The cluster (prompt) of each outcome.

    Raises:
        ValueError: If the lengths differ, or an outcome is another number.
    """
    balances: dict[Hashable, int] = {}
    for outcome, cluster in zip(outcomes, clusters, strict=True):
        if outcome not in {0.0, _EVEN, 1.0}:
            raise ValueError(f"the outcome {outcome} cannot be tested: an outcome is 1, 0.5 or 0")
        balances[cluster] = balances.get(cluster, 0) + round(2 * outcome - 1)
    sizes = sorted(abs(balance) for balance in balances.values())
    total = sum(balances.values())
    chances = np.ones(1)  # the probability of each total from -sum(sizes) to sum(sizes)
    for size in sizes:
        step = np.zeros(2 * size + 1)
        step[0] += _EVEN
        step[-1] += _EVEN
        chances = np.convolve(chances, step)
    totals = np.arange(len(chances)) - sum(sizes)
    return SignFlipTest(
        p_different=_sum(chances[np.abs(totals) >= abs(total)]), p_worse=_sum(chances[totals <= total])
    )


def correct_for_many(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusts the p-values of a family of tests, so that the whole family errs no more often than a single test.

    Holm 1979, Scandinavian Journal of Statistics 6: the i-th smallest of m is multiplied by m - i + 1, and is at least
    as large as those before it. (`multipletests` of statsmodels gives the same, but collects all garbage first.)
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(p_values[place] * (len(p_values) - rank), 1.0))
        corrected[place] = highest
    return tuple(corrected)


def _sum(chances: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    return min(float(chances.sum()), 1.0)
