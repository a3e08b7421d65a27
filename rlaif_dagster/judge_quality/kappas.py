"""Agreement corrected for chance: Cohen's and Fleiss' kappa, Krippendorff's alpha, for nominal labels.

All three are (observed - chance) / (1 - chance), and differ in what they count and how they compute chance agreement.
They are functions of sums over pairs, because the jackknife leaves pairs out; the tests compare them with statsmodels.
If only one label occurs, chance agreement is 1 and none of them is defined.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from rlaif_dagster.judge_quality.figures import Figure, FloatArray, Item, Kinds, jackknife, wilson_interval
from rlaif_dagster.judge_quality.rows import LABELS

UNPARSED: Final = len(LABELS)
"""The code of a missing verdict, in tables where it counts as a label."""
NUM_CODES: Final = len(LABELS) + 1

_ONLY_CHANCE: Final = 1e-12
"""If chance agreement is closer to 1 than this, it counts as 1."""

AgreementFunction = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From sums of shape (..., sums) to observed and chance agreement, each of shape (..., tables)."""


def estimate_cohens_kappa(cells_by_pair: Mapping[str, Sequence[Item]]) -> Figure:
    """Estimates Cohen's kappa (1960) of two raters; with several tables, the mean of their kappas.

    Args:
        cells_by_pair: For each pair its observations (table, label of one rater, label of the other), labels as
            codes below `NUM_CODES`.
    """
    names = sorted({cell[0] for cells in cells_by_pair.values() for cell in cells})
    if not names:
        return Figure.absent()
    shape = (len(names), NUM_CODES, NUM_CODES)
    index = {name: place for place, name in enumerate(names)}

    def contribute(cell: Item) -> FloatArray:
        tables = np.zeros(shape)
        tables[index[cell[0]], cell[1], cell[2]] = 1.0
        return tables.ravel()

    return _estimate_corrected(
        Kinds.from_items(cells_by_pair, contribute),
        lambda sums: measure_cohen(sums.reshape((*sums.shape[:-1], *shape))),
        n=sum(len(cells) for cells in cells_by_pair.values()),
    )


def estimate_fleiss_kappa(patterns_by_pair: Mapping[str, Sequence[Item]]) -> Figure:
    """Estimates Fleiss' kappa (1971) of raters who all rated every unit.

    Args:
        patterns_by_pair: For each pair its units: how often each label was given. Every unit has the same number
            of ratings, at least two.
    """
    num_units = sum(len(patterns) for patterns in patterns_by_pair.values())
    if not num_units:
        return Figure.absent()
    kinds = Kinds.from_items(
        patterns_by_pair, lambda counts: _contribute_unit(counts, share_equal_pairs(counts))
    )
    return _estimate_corrected(kinds, measure_fleiss, n=num_units)


def estimate_krippendorffs_alpha(patterns_by_pair: Mapping[str, Sequence[Item]]) -> Figure:
    """Estimates Krippendorff's alpha for nominal labels (Content Analysis, 2004, ch. 11); ratings may be missing.

    Args:
        patterns_by_pair: For each pair its units: how often each label was given. Units with fewer than two ratings do
            not count.
    """
    patterns = {
        pair: [pattern for pattern in units if sum(pattern) > 1] for pair, units in patterns_by_pair.items()
    }
    num_units = sum(len(units) for units in patterns.values())
    if not num_units:
        return Figure.absent()
    kinds = Kinds.from_items(
        patterns, lambda counts: _contribute_unit(counts, sum(counts) * share_equal_pairs(counts))
    )
    return _estimate_corrected(kinds, measure_krippendorff, n=num_units)


def measure_cohen(tables: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Measures observed and chance agreement of two raters, from tables of shape (..., labels, labels)."""
    n = tables.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(tables, axis1=-2, axis2=-1) / n
        chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / n**2
    return observed, chance


def measure_fleiss(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Measures observed and chance agreement from sums (equal pairs' share, units, label counts...)."""
    counts = sums[..., 2:]
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = sums[..., 0] / sums[..., 1]
        chance = ((counts / counts.sum(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return observed[..., None], chance[..., None]


def measure_krippendorff(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Measures observed and chance agreement from sums (equal pairs, weighted by ratings; units; label counts...)."""
    counts = sums[..., 2:]
    n = counts.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = sums[..., 0] / n
        chance = (counts * (counts - 1.0)).sum(axis=-1) / (n * (n - 1.0))
    return observed[..., None], chance[..., None]


def share_equal_pairs(counts: Sequence[int]) -> float:
    """Returns the share of pairs of ratings of one unit that are equal; the unit has at least two ratings."""
    n = sum(counts)
    return sum(count * (count - 1) for count in counts) / (n * (n - 1))


def _contribute_unit(counts: Item, agreement: float) -> FloatArray:
    return np.array([agreement, 1.0, *counts])


def _estimate_corrected(kinds: Kinds, measure: AgreementFunction, *, n: int) -> Figure:
    """Estimates agreement corrected for chance, with the jackknife's interval.

    If the jackknife shows no variance (for example, all agree), the interval is that of the observed agreement (Wilson,
    with pairs as draws) at the measured chance agreement.
    """
    value, half = jackknife(kinds, lambda sums: _correct(*measure(sums)))
    if not np.isfinite(value):
        return Figure.absent(n)
    if half is not None:
        low, high = value - half, value + half
    else:
        observed, chance = (part.ravel() for part in measure(kinds.sums[None]))
        bounds = np.array([wilson_interval(float(share), kinds.num_clusters) for share in observed])
        low, high = (float(_correct(bounds[:, end][None], chance[None])[0]) for end in (0, 1))
    return Figure(value=value, n=n, low=min(max(low, -1.0), value), high=max(min(high, 1.0), value))


def _correct(observed: FloatArray, chance: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected = np.where(1.0 - chance < _ONLY_CHANCE, np.nan, (observed - chance) / (1.0 - chance))
    return np.asarray(corrected.mean(axis=-1), dtype=np.float64)
