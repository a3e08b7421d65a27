"""Measures how much several judges agree with each other, whoever is right.

A unit is one question: a pair in one order (and repeat). Judges are compared on the units for which all have a verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from rlaif_dagster.judge_quality.figures import Figure, Item, estimate_share
from rlaif_dagster.judge_quality.kappas import (
    estimate_cohens_kappa,
    estimate_fleiss_kappa,
    estimate_krippendorffs_alpha,
)
from rlaif_dagster.judge_quality.rows import LABELS, JudgedRow, Label

_Unit = tuple[str, str, str, int]
"""Cluster, pair, order and repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePair:
    """The agreement of two judges.

    Attributes:
        judges: Their names, sorted.
        agreement: Share of equal verdicts among the units with a verdict of both.
        kappa: Cohen's kappa on the same units.
    """

    judges: tuple[str, str]
    agreement: Figure
    kappa: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class RatersResult:
    """Agreement of all judges, and of every two judges with common units.

    Attributes:
        unanimous: Share of units with equal verdicts among those with a verdict of every judge.
        fleiss_kappa: Fleiss' kappa on the same units.
        krippendorff_alpha: Krippendorff's alpha on all units with verdicts of at least two judges.
        pairs: Every two judges, sorted by name.
    """

    unanimous: Figure
    fleiss_kappa: Figure
    krippendorff_alpha: Figure
    pairs: tuple[JudgePair, ...]


def measure_raters(rows_by_judge: Mapping[str, Sequence[JudgedRow]]) -> RatersResult | None:
    """Measures the agreement of several judges; None if there is only one."""
    if len(rows_by_judge) < 2:  # noqa: PLR2004
        return None
    units: dict[_Unit, dict[str, Label]] = {}
    for judge, rows in rows_by_judge.items():
        for row in rows:
            if row.choice is not None:
                unit = (row.pair.cluster, row.pair.pair_id, row.order, row.repeat)
                units.setdefault(unit, {})[judge] = row.choice
    units = dict(sorted(units.items()))
    complete = {unit: choices for unit, choices in units.items() if len(choices) == len(rows_by_judge)}
    pairs = [_compare(one, other, units) for one, other in combinations(sorted(rows_by_judge), 2)]
    return RatersResult(
        unanimous=estimate_share(
            [float(len(set(choices.values())) == 1) for choices in complete.values()],
            [cluster for cluster, *_ in complete],
        ),
        fleiss_kappa=estimate_fleiss_kappa(_list_patterns(complete)),
        krippendorff_alpha=estimate_krippendorffs_alpha(_list_patterns(units)),
        pairs=tuple(pair for pair in pairs if pair.agreement.n),
    )


def _list_patterns(units: Mapping[_Unit, Mapping[str, Label]]) -> dict[str, list[Item]]:
    patterns: dict[str, list[Item]] = {}
    for (cluster, *_), choices in units.items():
        given = list(choices.values())
        patterns.setdefault(cluster, []).append(tuple(given.count(label) for label in LABELS))
    return patterns


def _compare(one: str, other: str, units: Mapping[_Unit, Mapping[str, Label]]) -> JudgePair:
    equal: list[float] = []
    clusters: list[str] = []
    cells: dict[str, list[Item]] = {}
    for (cluster, *_), choices in units.items():
        if one in choices and other in choices:
            equal.append(float(choices[one] == choices[other]))
            clusters.append(cluster)
            cell = (0, LABELS.index(choices[one]), LABELS.index(choices[other]))
            cells.setdefault(cluster, []).append(cell)
    return JudgePair(
        judges=(one, other), agreement=estimate_share(equal, clusters), kappa=estimate_cohens_kappa(cells)
    )
