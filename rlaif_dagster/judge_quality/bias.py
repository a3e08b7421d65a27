"""Measures what a judge prefers besides quality: longer answers, and its own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Final

from rlaif_dagster.judge_quality.figures import Figure, estimate_mean, estimate_share
from rlaif_dagster.judge_quality.orders import list_both_orders
from rlaif_dagster.judge_quality.rows import JudgedRow, Label, PairFacts

_EVEN: Final = 0.5
_POINTS_A: Final[Mapping[Label, float]] = {"a": 1.0, "tie": _EVEN, "b": 0.0}


def measure_length_preference(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    """Measures how much one judge prefers the longer answer; see `judge_figures.py` for each figure."""
    decided = [row for row in rows if row.choice in ("a", "b") and row.pair.longer in ("a", "b")]
    compared = [row for row in rows if row.pair.longer is not None and row.pair.ground_truth in ("a", "b")]
    clusters = [row.pair.cluster for row in compared]
    rule = [_score(row.pair.longer, row.pair.ground_truth) for row in compared]
    pairs = {row.pair.pair_id: (score, row.pair.cluster) for row, score in zip(compared, rule, strict=True)}
    return {
        "prefers_longer": _share_longer(decided),
        "prefers_longer_ground_truth_fixed": _balance(
            _share_longer([row for row in decided if row.pair.ground_truth == row.pair.longer]),
            _share_longer(
                [row for row in decided if row.pair.ground_truth not in (row.pair.longer, "tie", None)]
            ),
        ),
        "longer_wins_accuracy": estimate_share(*_unzip(pairs.values())),
        "beats_longer_wins": estimate_mean(
            [
                _score(row.choice, row.pair.ground_truth) - score
                for row, score in zip(compared, rule, strict=True)
            ],
            clusters,
            bounds=(-1.0, 1.0),
        ),
    }


def measure_self_preference(
    judge: str, rows: Sequence[JudgedRow], others: Mapping[str, Mapping[str, float]]
) -> dict[str, Figure]:
    """Measures how much a judge prefers answers whose source has its own name; see `judge_figures.py`.

    Args:
        judge: The judge's name.
        rows: Its verdicts.
        others: For each other judge, its mean score of answer a by pair (`score_pairs`).
    """
    facts = {row.pair.pair_id: row.pair for row in rows}
    own: list[tuple[float, str]] = []
    against_ground_truth: list[tuple[float, str]] = []
    against_others: list[tuple[float, str]] = []
    for pair_id, score_a in score_pairs(rows).items():
        pair = facts[pair_id]
        is_a = _is_own_a(judge, pair)
        if is_a is None:
            continue
        score = score_a if is_a else 1.0 - score_a
        own.append((score, pair.cluster))
        if pair.ground_truth is not None:
            ground_truth_a = _POINTS_A[pair.ground_truth]
            against_ground_truth.append(
                (score - (ground_truth_a if is_a else 1.0 - ground_truth_a), pair.cluster)
            )
        scores = [scores_a[pair_id] for scores_a in others.values() if pair_id in scores_a]
        if scores:
            mean_a = fmean(scores)
            against_others.append((score - (mean_a if is_a else 1.0 - mean_a), pair.cluster))
    return {
        "own_share": estimate_share(*_unzip(own)),
        "self_preference_ground_truth": estimate_mean(*_unzip(against_ground_truth), bounds=(-1.0, 1.0)),
        "self_preference_others": estimate_mean(*_unzip(against_others), bounds=(-1.0, 1.0)),
    }


def score_pairs(rows: Iterable[JudgedRow]) -> dict[str, float]:
    """Returns one judge's score of answer a by pair, in [0, 1]: a tie is 0.5; repeats, then orders averaged."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.choice is not None:
            scores.setdefault(row.pair.pair_id, {}).setdefault(row.order, []).append(_POINTS_A[row.choice])
    return {
        pair_id: fmean(fmean(by_order[order]) for order in sorted(by_order))
        for pair_id, by_order in sorted(scores.items())
    }


def measure_sources(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    """Measures, by source, the share of wins of its answers (ties count half), over pairs whose orders agree.

    Each (pair, repeat) whose orders both prefer the same answer, or both say a tie, counts once.
    """
    points: dict[str, list[float]] = {}
    clusters: dict[str, list[str]] = {}
    for ab, ba in list_both_orders(rows):
        if ab.choice is None or ab.choice != ba.choice or ab.pair.source_a == ab.pair.source_b:
            continue
        score_a = _POINTS_A[ab.choice]
        for source, score in ((ab.pair.source_a, score_a), (ab.pair.source_b, 1.0 - score_a)):
            if source is not None:
                points.setdefault(source, []).append(score)
                clusters.setdefault(source, []).append(ab.pair.cluster)
    return {source: estimate_share(points[source], clusters[source]) for source in sorted(points)}


def _share_longer(rows: Sequence[JudgedRow]) -> Figure:
    return estimate_share(
        [float(row.choice == row.pair.longer) for row in rows], [row.pair.cluster for row in rows]
    )


def _balance(one: Figure, other: Figure) -> Figure:
    """Returns the mean of two independent shares, with an interval recovered from their intervals (MOVER).

    Zou and Donner 2008, Construction of confidence limits about effect measures: a general approach, Statistics in
    Medicine 27:1693-1702.
    """
    n = one.n + other.n
    parts = [(part.value, part.low, part.high) for part in (one, other)]
    known = [
        (v, low, high) for v, low, high in parts if v is not None and low is not None and high is not None
    ]
    if len(known) < len(parts):
        return Figure.absent(n)
    value = sum(part[0] for part in known) / 2.0
    down = math.hypot(*(v - low for v, low, _ in known)) / 2.0
    up = math.hypot(*(high - v for v, _, high in known)) / 2.0
    return Figure(value=value, n=n, low=max(value - down, 0.0), high=min(value + up, 1.0))


def _unzip(values: Iterable[tuple[float, str]]) -> tuple[list[float], list[str]]:
    """Splits (value, cluster) pairs into values and clusters."""
    known = list(values)
    return [value for value, _ in known], [cluster for _, cluster in known]


def _score(choice: Label | None, ground_truth: Label | None) -> float:
    """Scores a choice: 1 for the better answer, 0.5 for a tie, 0 for the other answer or none."""
    if choice == "tie":
        return _EVEN
    return float(choice is not None and choice == ground_truth)


def _is_own_a(judge: str, pair: PairFacts) -> bool | None:
    """Whether answer a is the judge's own; None unless both sources are known and exactly one is the judge."""
    if pair.source_a is None or pair.source_b is None or (pair.source_a == judge) == (pair.source_b == judge):
        return None
    return pair.source_a == judge
