"""Figures: a value with its n and its interval, and the methods that make intervals.

Every interval is for 95 % and takes pairs, not verdicts, as independent: verdicts on one pair (both orders,
repeats) tend to agree. No interval of an estimate has length zero.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from rlaif_dagster.stats.intervals import Estimate, clustered_bounded_mean, clustered_proportion

CONFIDENCE: Final = 0.95
"""The two-sided confidence of every interval."""

_NO_VARIANCE: Final = 1e-12
"""A standard error below this is only rounding error."""

FloatArray = NDArray[np.float64]
Item = tuple[int, ...]
"""One observation of a cluster as small integers, so that equal ones can be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity.

    Attributes:
        value: The estimate; None if it is not defined (nothing to measure, or only one label).
        n: The number of observations; the definition says what is counted.
        low: Lower end of the interval; None if it is not known.
        high: Upper end of the interval; None with `low`.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has both ends or none")
        if self.low is None or self.high is None:
            return
        if self.value is None or not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its interval [{self.low}, {self.high}]")

    @classmethod
    def absent(cls, n: int = 0) -> Self:
        """Makes the figure of a quantity that these rows do not show."""
        return cls(value=None, n=n)

    @classmethod
    def from_census(cls, value: int, n: int) -> Self:
        """Makes the figure of a number that was counted, not estimated: its interval is itself."""
        return cls(value=value, n=n, low=value, high=value)

    @classmethod
    def from_estimate(cls, estimate: Estimate) -> Self:
        """Makes a figure with the estimate's value and interval."""
        return cls(value=estimate.value, n=estimate.n, low=estimate.low, high=estimate.high)

    def to_json(self) -> dict[str, float | None]:
        """Returns `{"value", "n", "low", "high"}`."""
        return asdict(self)


def estimate_share(values: Sequence[float], clusters: Sequence[Hashable]) -> Figure:
    """Estimates the mean of outcomes in [0, 1]: Wilson at the effective sample size (`clustered_proportion`)."""
    if not values:
        return Figure.absent()
    return Figure.from_estimate(clustered_proportion(values, clusters, confidence=CONFIDENCE))


def estimate_count(flags: Sequence[bool], clusters: Sequence[Hashable]) -> Figure:
    """Counts the true flags; the interval is that of their share, times the number of flags."""
    share = estimate_share([float(flag) for flag in flags], clusters)
    if share.low is None or share.high is None:
        return Figure.absent()
    count, n = sum(flags), len(flags)
    return Figure(value=count, n=n, low=min(share.low * n, count), high=max(share.high * n, count))


def estimate_mean(
    values: Sequence[float], clusters: Sequence[Hashable], *, bounds: tuple[float, float]
) -> Figure:
    """Estimates the mean of bounded numbers: a t interval on the cluster-robust variance, within the bounds.

    See `clustered_bounded_mean`.

    Args:
        values: Numbers within the bounds.
        clusters: The cluster of each value.
        bounds: The smallest and the largest possible value.
    """
    if not values:
        return Figure.absent()
    estimate = clustered_bounded_mean(values, clusters, bounds=bounds, confidence=CONFIDENCE)
    return Figure(value=estimate.value, n=estimate.n, low=estimate.low, high=estimate.high)


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Returns Wilson's interval of a share among n independent draws."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * n, n, alpha=1.0 - CONFIDENCE, method="wilson")
    return min(float(low), share), max(float(high), share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Clusters grouped by what they contribute to a statistic of sums.

    Attributes:
        contributions: What one cluster of each kind adds to the sums, shape (kinds, sums).
        counts: How many clusters are of each kind, shape (kinds,).
    """

    contributions: FloatArray
    counts: NDArray[np.int64]

    @classmethod
    def from_items(
        cls, items_by_cluster: Mapping[str, Sequence[Item]], contribute: Callable[[Item], FloatArray]
    ) -> Self:
        """Groups clusters that have the same items, in any order; an item adds `contribute(item)`.

        Raises:
            ValueError: If no cluster has an item.
        """
        kinds = Counter(tuple(sorted(items)) for items in items_by_cluster.values() if items)
        if not kinds:
            raise ValueError("there is nothing to group: no cluster has an item")
        rows = [np.sum([contribute(item) for item in kind], axis=0) for kind in sorted(kinds)]
        return cls(
            contributions=np.array(rows, dtype=np.float64),
            counts=np.array([kinds[kind] for kind in sorted(kinds)], dtype=np.int64),
        )

    @property
    def num_clusters(self) -> int:
        """How many clusters there are."""
        return int(self.counts.sum())

    @property
    def sums(self) -> FloatArray:
        """The sums over all clusters, shape (sums,)."""
        return np.asarray(self.counts @ self.contributions, dtype=np.float64)


def jackknife(kinds: Kinds, statistic: Callable[[FloatArray], FloatArray]) -> tuple[float, float | None]:
    """Computes a statistic of sums over clusters, and the half length of its interval.

    The standard error is the delete-one-cluster jackknife's, sqrt((G - 1) / G * sum of (theta_g - mean)^2) (Efron and
    Tibshirani 1993, An Introduction to the Bootstrap, ch. 11), times the t quantile on G - 1 degrees of freedom. It
    uses no random numbers, and clusters of one kind are left out together, so it is fast.

    Args:
        kinds: The clusters.
        statistic: From sums of shape (..., sums) to values of shape (...); NaN if it is not defined.

    Returns:
        The value, NaN if it is not defined; and the half length, None if leaving out a cluster makes the statistic
        undefined, or changes nothing.
    """
    from scipy.special import stdtrit

    sums = kinds.sums
    value = float(statistic(sums[None])[0])
    left_out = statistic(sums[None] - kinds.contributions)
    num_clusters = kinds.num_clusters
    if num_clusters < 2 or not math.isfinite(value) or not np.isfinite(left_out).all():  # noqa: PLR2004
        return value, None
    shares = kinds.counts / num_clusters
    deviations = left_out - shares @ left_out
    error = math.sqrt((num_clusters - 1) * float(shares @ deviations**2))
    if error <= _NO_VARIANCE:
        return value, None
    return value, float(stdtrit(num_clusters - 1, 0.5 + CONFIDENCE / 2.0)) * error


def estimate_statistic(
    kinds: Kinds, statistic: Callable[[FloatArray], FloatArray], *, n: int, bounds: tuple[float, float]
) -> Figure:
    """Estimates a statistic of sums with the jackknife's interval, within the bounds; null if it has none."""
    value, half = jackknife(kinds, statistic)
    if not math.isfinite(value):
        return Figure.absent(n)
    if half is None:
        return Figure(value=value, n=n)
    return Figure(
        value=value,
        n=n,
        low=min(max(value - half, bounds[0]), value),
        high=max(min(value + half, bounds[1]), value),
    )
