"""Compares a figure of both policies, and estimates the paired difference."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from rlaif_dagster.stats.intervals import Estimate, clustered_bounded_mean, clustered_proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedFigure:
    """One figure, measured for both policies on the same prompts.

    Attributes:
        name: Its name.
        base: The figure of the base policy.
        aligned: The figure of the aligned policy.
        difference: Aligned minus base, paired.
    """

    name: str
    base: Estimate
    aligned: Estimate
    difference: Estimate


def pair_shares(
    name: str,
    base: Sequence[float],
    aligned: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float,
    is_binary: bool,
) -> PairedFigure | None:
    """Estimates a share of both policies and the difference; None if nothing was measured.

    Args:
        name: The figure's name.
        base: The values of the base policy, in [0, 1]: one per comparison, or per prompt.
        aligned: The values of the aligned policy, in the same order.
        clusters: The prompt of each value.
        confidence: The confidence of the intervals, in (0, 1).
        is_binary: Whether each value is 0 or 1, not a share.
    """
    if not base:
        return None
    estimate = clustered_proportion if is_binary else partial(clustered_bounded_mean, bounds=(0.0, 1.0))
    differences = [after - before for before, after in zip(base, aligned, strict=True)]
    return PairedFigure(
        name=name,
        base=estimate(base, clusters, confidence=confidence),
        aligned=estimate(aligned, clusters, confidence=confidence),
        difference=clustered_bounded_mean(differences, clusters, bounds=(-1.0, 1.0), confidence=confidence),
    )
