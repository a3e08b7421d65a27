"""Estimates with intervals that account for dependent comparisons on the same prompt.

Several comparisons on one prompt tend to agree, so treating them as independent makes intervals too narrow.
Variances here are linearised and robust to any dependence within a cluster (a prompt); clusters are treated as
independent draws.

Known trade-offs (accepted): with fewer than about 20 prompts the intervals are approximate, and the Wilson
interval on an effective sample size is a little too wide near 0 and 1.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

_NO_VARIANCE = 1e-12
"""A variance below this share of 1/n is only rounding error."""
_NOISE_DECIMALS = 12
"""A difference that is zero at this many decimals is only rounding error."""


def exceeds(value: float, bound: float) -> bool:
    """Says whether a value is above a bound by more than rounding error: 0.55 - 0.5 is not above 0.05."""
    return round(value - bound, _NOISE_DECIMALS) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: The mean over all observations.
        low: Lower end of the interval; None if there is only one cluster.
        high: Upper end of the interval; None with `low`.
        n: Number of observations.
        num_clusters: Number of independent groups among them (prompts).
    """

    value: float
    low: float | None
    high: float | None
    n: int
    num_clusters: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_clusters <= self.n:
            raise ValueError(
                f"{self.num_clusters} clusters of {self.n} observations: 1 <= clusters <= n must hold"
            )
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has both ends or none")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its interval [{self.low}, {self.high}]")

    def is_above(self, bound: float) -> bool:
        """Says whether the whole interval is above a bound; False if there is no interval."""
        return self.low is not None and self.low > bound

    def is_below(self, bound: float) -> bool:
        """Says whether the whole interval is below a bound; False if there is no interval."""
        return self.high is not None and self.high < bound


def clustered_proportion(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95
) -> Estimate:
    """Estimates a proportion with a Wilson interval on the effective sample size.

    The effective sample size is p(1 - p) / v, with v the cluster-robust variance of the mean, times the
    squared ratio of the normal to the t quantile on (clusters - 1) degrees of freedom, at most n (Korn and
    Graubard 1998, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, Survey Methodology 24:193-201; the truncation is Dean and Pagano 2015). If
    the data show no variance (for example, all wins) it is the number of clusters: no interval has length zero.

    Args:
        values: Outcomes in [0, 1]; 0.5 is a tie.
        clusters: The cluster of each value.
        confidence: The confidence of the two-sided interval, in (0, 1).

    Raises:
        ValueError: If there are no values, the lengths differ, or a value or the confidence is out of range.
    """
    if any(not 0.0 <= value <= 1.0 for value in values):
        raise ValueError("a proportion's values must be in [0, 1]")
    from statsmodels.stats.proportion import proportion_confint

    value, variance, num_clusters = _mean_and_variance(values, clusters, confidence)
    n = len(values)
    if variance is None or variance <= _NO_VARIANCE / n:
        n_effective = float(num_clusters)
    else:
        shrinkage = (_normal_quantile(confidence) / find_t_quantile(confidence, num_clusters - 1)) ** 2
        n_effective = min(float(n), value * (1.0 - value) / variance * shrinkage)
    low, high = proportion_confint(value * n_effective, n_effective, alpha=1.0 - confidence, method="wilson")
    return Estimate(
        value=value,
        low=min(max(float(low), 0.0), value),
        high=max(min(float(high), 1.0), value),
        n=n,
        num_clusters=num_clusters,
    )


def clustered_mean(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95
) -> Estimate:
    """Estimates the mean of unbounded numbers with a t interval on the cluster-robust variance.

    Degrees of freedom are clusters - 1 (Cameron and Miller 2015, A practitioner's guide to cluster-robust
    inference, Journal of Human Resources 50(2)). With one cluster the interval is unknown, hence None.

    Args:
        values: Finite numbers.
        clusters: The cluster of each value.
        confidence: The confidence of the two-sided interval, in (0, 1).

    Raises:
        ValueError: If there are no values, the lengths differ, or a value or the confidence is out of range.
    """
    value, variance, num_clusters = _mean_and_variance(values, clusters, confidence)
    half = None if variance is None else find_t_quantile(confidence, num_clusters - 1) * math.sqrt(variance)
    return Estimate(
        value=value,
        low=None if half is None else value - half,
        high=None if half is None else value + half,
        n=len(values),
        num_clusters=num_clusters,
    )


def clustered_bounded_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    bounds: tuple[float, float],
    confidence: float = 0.95,
) -> Estimate:
    """Estimates the mean of bounded numbers: the t interval of `clustered_mean`, cut at the bounds.

    If the data show no variance, up to a share w of the clusters could still differ, where w is Wilson's upper bound
    for 0 out of that many, each by as much as the bounds allow: no interval has length zero.

    Args:
        values: Numbers within the bounds.
        clusters: The cluster of each value.
        bounds: The smallest and the largest possible value.
        confidence: The confidence of the two-sided interval, in (0, 1).

    Raises:
        ValueError: If there are no values, the lengths differ, or the confidence is out of range.
    """
    from statsmodels.stats.proportion import proportion_confint

    estimate = clustered_mean(values, clusters, confidence=confidence)
    least, most = bounds
    value = min(max(estimate.value, least), most)
    if estimate.low is not None and estimate.high is not None and estimate.high - estimate.low > _NO_VARIANCE:
        low, high = max(estimate.low, least), min(estimate.high, most)
    else:
        num_clusters = estimate.num_clusters
        _, unseen = proportion_confint(0.0, num_clusters, alpha=1.0 - confidence, method="wilson")
        low, high = value - float(unseen) * (value - least), value + float(unseen) * (most - value)
    return replace(estimate, value=value, low=min(low, value), high=max(high, value))


def standard_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """Computes the cluster-robust standard error of the mean; None with one cluster.

    Raises:
        ValueError: If there are no values, the lengths differ, or a value is not finite.
    """
    _, variance, _ = _mean_and_variance(values, clusters, confidence=0.95)
    return None if variance is None else math.sqrt(variance)


def _mean_and_variance(
    values: Sequence[float], clusters: Sequence[Hashable], confidence: float
) -> tuple[float, float | None, int]:
    """Returns the mean, its linearised variance (None with one cluster), and the number of clusters G.

    variance = G / (G - 1) * sum over clusters of (sum of residuals in the cluster)^2 / n^2. Sums are exact:
    the order of rows changes nothing.
    """
    if not values:
        raise ValueError("an estimate needs at least one value: use None if nothing was measured")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}: it must be in (0, 1)")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("an estimate's values must be finite")
    n = len(values)
    mean = math.fsum(values) / n
    residuals: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        residuals.setdefault(cluster, []).append(value - mean)
    num_clusters = len(residuals)
    if num_clusters == 1:
        return mean, None, 1
    squares = math.fsum(math.fsum(cluster) ** 2 for cluster in residuals.values())
    return mean, num_clusters / (num_clusters - 1) * squares / n**2, num_clusters


def _normal_quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2.0))


def find_t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """Returns half the width, in standard errors, of Student's t interval."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.5 + confidence / 2.0))
