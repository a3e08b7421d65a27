"""A figure of both policies side by side, with their difference, prompt by prompt."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from rlaif_dagster.stats.intervals import Estimate, clustered_bounded_mean, clustered_proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedFigure:
    """What was measured of both policies on the same prompts.

    Attributes:
        name: What it is.
        base: Of the base policy.
        aligned: Of the aligned policy.
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
    """Estimates a share of both policies and the difference; None where nothing was measured.

    Args:
        name: What it is.
        base: Of the base policy, in [0, 1]: one value a comparison, or a prompt.
        aligned: Of the aligned policy, in the same order.
        clusters: The prompt of each.
        confidence: Of the intervals, in (0, 1).
        is_binary: Whether each value is 0 or 1, and not itself a share.
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
