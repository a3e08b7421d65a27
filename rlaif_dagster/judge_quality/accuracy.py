"""Measures how accurate a judge is: its verdicts against the ground truth."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import numpy as np

from rlaif_dagster.judge_quality.figures import (
    Figure,
    FloatArray,
    Item,
    Kinds,
    estimate_share,
    estimate_statistic,
)
from rlaif_dagster.judge_quality.kappas import NUM_CODES, UNPARSED, estimate_cohens_kappa
from rlaif_dagster.judge_quality.orders import list_both_orders
from rlaif_dagster.judge_quality.rows import LABELS, JudgedRow, Label
from rlaif_dagster.judging.verdicts import ORDERS

_PARSED: Final = slice(0, len(LABELS))


def measure_accuracy(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    """Measures one judge's verdicts against the ground truth; see `judge_figures.py` for each figure."""
    judged = [row for row in rows if row.pair.ground_truth is not None]
    parsed = [row for row in judged if row.choice is not None]
    both = list_both_orders(judged)
    return {
        "accuracy": _share_right(judged),
        "accuracy_parsed": _share_right(parsed),
        "both_correct": estimate_share(
            [float(ab.choice == ba.choice == ab.pair.ground_truth) for ab, ba in both],
            [ab.pair.cluster for ab, _ in both],
        ),
        "kappa_ground_truth": estimate_cohens_kappa(_tabulate(judged)),
        **_measure_macro(judged),
        **_count_ground_truth(rows),
    }


def code_label(label: Label | None) -> int:
    """Returns a label's code, the same for verdicts and ground truth; a missing verdict has its own code."""
    return UNPARSED if label is None else LABELS.index(label)


def _share_right(rows: Sequence[JudgedRow]) -> Figure:
    return estimate_share(
        [float(row.choice == row.pair.ground_truth) for row in rows], [row.pair.cluster for row in rows]
    )


def _tabulate(rows: Iterable[JudgedRow]) -> dict[str, list[Item]]:
    cells: dict[str, list[Item]] = {}
    for row in rows:
        cell = (ORDERS.index(row.order), code_label(row.choice), code_label(row.pair.ground_truth))
        cells.setdefault(row.pair.cluster, []).append(cell)
    return cells


def _measure_macro(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    """Precision, recall and F1, as the mean over the labels that occur in the ground truth or the verdicts."""
    names = ("macro_precision", "macro_recall", "macro_f1")
    if not rows:
        return {name: Figure.absent() for name in names}

    def contribute(cell: Item) -> FloatArray:
        table = np.zeros((NUM_CODES, NUM_CODES))
        table[cell[1], cell[2]] = 1.0
        return table.ravel()

    kinds = Kinds.from_items(_tabulate(rows), contribute)
    return {
        name: estimate_statistic(kinds, partial(_score, place), n=len(rows), bounds=(0.0, 1.0))
        for place, name in enumerate(names)
    }


def _score(place: int, sums: FloatArray) -> FloatArray:
    return score_labels(sums.reshape((*sums.shape[:-1], NUM_CODES, NUM_CODES)))[place]


def score_labels(tables: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns macro precision, recall and F1 of tables (..., verdict, ground truth); the last code: no verdict.

    A label that no verdict gives has precision 0; one that the ground truth never gives has recall 0. A missing verdict
    is no label; it lowers the recall of its true label.
    """
    hits = np.diagonal(tables, axis1=-2, axis2=-1)[..., _PARSED]
    given = tables.sum(axis=-1)[..., _PARSED]
    ground_truth = tables.sum(axis=-2)[..., _PARSED]
    occurs = (given + ground_truth) > 0
    f1 = 2.0 * hits / np.maximum(given + ground_truth, 1.0)
    scores = (hits / np.maximum(given, 1.0), hits / np.maximum(ground_truth, 1.0), f1)
    num_labels = np.maximum(occurs.sum(axis=-1), 1)
    precision, recall, f1 = (np.where(occurs, score, 0.0).sum(axis=-1) / num_labels for score in scores)
    return precision, recall, f1


def _count_ground_truth(rows: Iterable[JudgedRow]) -> dict[str, Figure]:
    ground_truth = {
        row.pair.pair_id: row.pair.ground_truth for row in rows if row.pair.ground_truth is not None
    }
    return {
        f"ground_truth_{label}": Figure.from_census(
            sum(value == label for value in ground_truth.values()), len(ground_truth)
        )
        if ground_truth
        else Figure.absent()
        for label in LABELS
    }
