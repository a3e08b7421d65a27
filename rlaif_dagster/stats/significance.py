"""Whether a difference between two policies is more than chance: an exact paired test, and many of them at once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

_EVEN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SignFlipTest:
    """How surprising a win rate is if the two policies are alike.

    Attributes:
        p_different: Of a win rate as far from one half, on either side.
        p_worse: Of a win rate as low.
    """

    p_different: float
    p_worse: float


def flip_signs(outcomes: Sequence[float], clusters: Sequence[Hashable]) -> SignFlipTest:
    """Tests whether two policies are alike, by Fisher's randomisation of paired comparisons, a cluster at a time.

    If they are alike, exchanging them in all answers to a prompt changes nothing: each prompt's balance of wins and
    losses is as likely as its opposite. Of all such exchanges the share is counted that gives a total as extreme as the
    one found (Fisher 1935, The Design of Experiments, section 21). It is exact for any number of prompts and any
    dependence within a prompt, and a tie says nothing. The fewest prompts that can show anything at 5 % are five.

    Args:
        outcomes: 1, 0.5 or 0.
        clusters: The cluster (prompt) of each.

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
    chances = np.ones(1)  # of each total from -sum(sizes) to sum(sizes)
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
    """Adjusts the p-values of a family of tests, so that one of them errs as seldom as a single test.

    Holm 1979, Scandinavian Journal of Statistics 6: the i-th smallest of m is multiplied by m - i + 1, and is no less
    than those before it. (`multipletests` of statsmodels gives the same, after a collection of all garbage.)
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(p_values[place] * (len(p_values) - rank), 1.0))
        corrected[place] = highest
    return tuple(corrected)


def _sum(chances: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    return min(float(chances.sum()), 1.0)
