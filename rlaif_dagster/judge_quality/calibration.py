"""Measures whether soft labels are calibrated: P(a is better) against the ground truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from rlaif_dagster.judge_quality.figures import (
    Figure,
    FloatArray,
    Kinds,
    estimate_mean,
    estimate_share,
    estimate_statistic,
)
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts

NUM_BINS: Final = 10
"""Bins of equal width over confidences from 0.5 to 1."""

_EVEN: Final = 0.5
_DECIMALS: Final = 12
"""Decimals to which confidences are rounded, so that p and 1 - p fall into the same bin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftLabel:
    """A judge's label of one pair, with the ground truth.

    Attributes:
        cluster: The cluster of correlated labels: the pair's prompt, or the pair.
        p_a: P(a is better), the mean over repeats, then over orders.
        ground_truth_a: Whether the ground truth prefers a; it is never a tie here.
    """

    cluster: str
    p_a: float
    ground_truth_a: bool

    @property
    def confidence(self) -> float:
        """The probability of the answer that the label prefers, in [0.5, 1]."""
        return round(max(self.p_a, 1.0 - self.p_a), _DECIMALS)

    @property
    def hit(self) -> float:
        """1 if the label prefers the better answer, 0 if the other one, 0.5 if neither."""
        if self.confidence == _EVEN:
            return _EVEN
        return float((self.p_a > _EVEN) == self.ground_truth_a)

    @property
    def bin(self) -> int:
        """The index of the confidence's bin among `NUM_BINS`."""
        return min(int(round((self.confidence - _EVEN) * 2.0 * NUM_BINS, _DECIMALS)), NUM_BINS - 1)


def list_soft_labels(rows: Iterable[JudgedRow]) -> list[SoftLabel]:
    """Returns one judge's soft labels of the pairs whose ground truth is a or b, sorted by pair."""
    labels: dict[str, dict[str, list[float]]] = {}
    facts: dict[str, PairFacts] = {}
    for row in rows:
        if row.p_first is not None and row.choice is not None and row.pair.ground_truth in ("a", "b"):
            p_a = row.p_first if row.order == "ab" else 1.0 - row.p_first
            labels.setdefault(row.pair.pair_id, {}).setdefault(row.order, []).append(p_a)
            facts[row.pair.pair_id] = row.pair
    return [
        SoftLabel(
            cluster=facts[pair_id].cluster,
            p_a=fmean(fmean(by_order[order]) for order in sorted(by_order)),
            ground_truth_a=facts[pair_id].ground_truth == "a",
        )
        for pair_id, by_order in sorted(labels.items())
    ]


def measure_calibration(labels: Sequence[SoftLabel]) -> dict[str, Figure]:
    """Measures ECE (Guo et al. 2017) and the Brier score (Brier 1950) of soft labels."""
    if not labels:
        return {"ece": Figure.absent(), "brier": Figure.absent()}
    return {
        "ece": _estimate_ece(labels),
        "brier": estimate_mean(
            [(label.p_a - label.ground_truth_a) ** 2 for label in labels],
            [label.cluster for label in labels],
            bounds=(0.0, 1.0),
        ),
    }


def bin_labels(labels: Iterable[SoftLabel]) -> list[dict[str, float | None]]:
    """Returns the non-empty bins: mean `confidence`, and the share of `hit`s as a figure's fields."""
    bins: dict[int, list[SoftLabel]] = {}
    for label in labels:
        bins.setdefault(label.bin, []).append(label)
    return [
        {
            "confidence": fmean(label.confidence for label in held),
            **estimate_share([label.hit for label in held], [label.cluster for label in held]).to_json(),
        }
        for _, held in sorted(bins.items())
    ]


def _estimate_ece(labels: Sequence[SoftLabel]) -> Figure:
    """ECE = sum over bins of |sum of (hit - confidence)| / labels."""
    gaps, counts = np.unique(
        np.array([(label.bin, round(label.hit - label.confidence, _DECIMALS)) for label in labels]),
        axis=0,
        return_counts=True,
    )
    contributions = np.zeros((len(gaps), NUM_BINS + 1))
    contributions[np.arange(len(gaps)), gaps[:, 0].astype(int)] = gaps[:, 1]
    contributions[:, NUM_BINS] = 1.0

    def measure(sums: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.abs(sums[..., :NUM_BINS]).sum(axis=-1) / sums[..., NUM_BINS], dtype=np.float64
            )

    return estimate_statistic(
        Kinds(contributions=contributions, counts=counts), measure, n=len(labels), bounds=(0.0, 1.0)
    )
