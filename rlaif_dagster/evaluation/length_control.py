"""Estimates win rates at equal answer length, with a fitted generalised linear model.

After Dubois et al. 2024 (Length-Controlled AlpacaEval, arXiv:2404.04475, section 3), for one pair of policies:

    logit P(aligned wins) = theta + phi * tanh(d / s)

with d the length of the aligned answer minus that of the base answer, and s the standard deviation of d. The length-
controlled win rate is the prediction at d = 0: sigmoid(theta). Their term for the difficulty of each instruction needs
many policies on the same instructions, and is left out.

The outcome may be a tie (0.5) or a probability: the model is one of its mean (Papke and Wooldridge 1996, Econometric
methods for fractional response variables, Journal of Applied Econometrics 11). Both coefficients have the weak prior of
one observation that is half a win and half a loss (log-F(1, 1), by data augmentation: Greenland and Mansournia 2015,
Statistics in Medicine 34:3133), so that they stay finite if one policy wins everything.

The laws: exchanging the two answers in every row turns the win rate p into 1 - p and keeps phi; the unit of length does
not matter.

Known trade-off (accepted): this is a model. If length and quality cannot be separated, because better answers are
longer for a good reason, it removes that reason too.
"""

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from rlaif_dagster.stats.intervals import Estimate, find_t_quantile

_STEADY = 1e-9
"""Length differences that vary by less than this share of their size count as equal."""
_MAX_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthControl:
    """A win rate at equal length.

    Attributes:
        win_rate: The length-controlled win rate.
        length_effect: phi, in log-odds of winning: above 0 the longer answer wins more often, whichever policy wrote
            it.
        length_scale: s, the standard deviation of the length differences, in the unit of the lengths.
    """

    win_rate: Estimate
    length_effect: Estimate
    length_scale: float


def control_length(
    outcomes: Sequence[float],
    length_differences: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
) -> LengthControl | None:
    """Fits the model above to a table of wins, and predicts the win rate at equal length.

    Intervals are Student's t on clusters - 1 degrees of freedom, on the log-odds, with the variance that is robust to
    any dependence within a cluster (the sandwich: Liang and Zeger 1986), but at least that of as many independent wins
    and losses; if all outcomes are equal, of as many as there are clusters.

    Args:
        outcomes: The outcome of each comparison, in [0, 1]: 1 if the aligned answer wins, 0.5 for a tie.
        length_differences: Length of the aligned minus that of the base answer.
        clusters: The cluster (prompt) of each comparison.
        confidence: The confidence of the two-sided intervals, in (0, 1).

    Returns:
        The win rate at equal length; None if it cannot be estimated: fewer than three comparisons or two
        clusters, or equal length differences.

    Raises:
        ValueError: If the lengths of the arguments differ, or an outcome is out of range.
    """
    if any(not 0.0 <= outcome <= 1.0 for outcome in outcomes):
        raise ValueError("the outcomes of a length-controlled win rate must be in [0, 1]")
    rows = sorted(zip(outcomes, length_differences, map(str, clusters), strict=True))
    num_clusters = len({cluster for _, _, cluster in rows})
    if len(rows) < 3 or num_clusters < 2:  # noqa: PLR2004 - two coefficients and a variance
        return None
    mean = math.fsum(difference for _, difference, _ in rows) / len(rows)
    scale = math.sqrt(math.fsum((difference - mean) ** 2 for _, difference, _ in rows) / len(rows))
    if scale <= _STEADY * max(abs(difference) for _, difference, _ in rows):
        return None
    wins = [outcome for outcome, _, _ in rows]
    terms = [math.tanh(difference / scale) for _, difference, _ in rows]
    coefficients, errors = _fit(wins, terms, [cluster for _, _, cluster in rows], num_clusters)
    reach = [find_t_quantile(confidence, num_clusters - 1) * error for error in errors]
    (theta, phi), (about_theta, about_phi) = coefficients, reach
    counts = {"n": len(rows), "num_clusters": num_clusters}
    return LengthControl(
        win_rate=Estimate(
            value=_sigmoid(theta),
            low=_sigmoid(theta - about_theta),
            high=_sigmoid(theta + about_theta),
            **counts,
        ),
        length_effect=Estimate(value=phi, low=phi - about_phi, high=phi + about_phi, **counts),
        length_scale=scale,
    )


def _fit(
    wins: Sequence[float], terms: Sequence[float], clusters: Sequence[str], num_clusters: int
) -> tuple[list[float], list[float]]:
    """Returns theta and phi, and their standard errors."""
    import numpy as np
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    design = np.column_stack([np.ones(len(wins)), terms])
    prior = np.eye(2)
    model = GLM([*wins, 0.5, 0.5], np.vstack([design, prior]), family=Binomial())
    with warnings.catch_warnings():
        # Ties alone are predicted perfectly, by one half; the prior identifies the parameters all the same.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fitted = model.fit(maxiter=_MAX_STEPS, tol=1e-12, tol_criterion="params")
    expected = fitted.fittedvalues
    bread = np.linalg.inv((model.exog.T * (expected * (1.0 - expected))) @ model.exog)
    scores = design * (np.asarray(wins) - expected[: len(wins)])[:, None]
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.stack([np.bincount(places, column) for column in scores.T], axis=1)
    sandwich = bread @ (sums.T @ sums) @ bread * num_clusters / (num_clusters - 1)
    is_certain = len(set(wins)) == 1
    floor = bread * (len(wins) / num_clusters if is_certain else 1.0)
    variances = np.maximum(np.diag(sandwich), np.diag(floor))
    return fitted.params.tolist(), np.sqrt(variances).tolist()


def _sigmoid(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))
