"""Measures how the order of the answers affects a judge's verdicts."""

from collections.abc import Iterable, Sequence
from typing import Final

from rlaif_dagster.judge_quality.figures import (
    CONFIDENCE,
    Figure,
    Item,
    estimate_count,
    estimate_mean,
    estimate_share,
)
from rlaif_dagster.judge_quality.kappas import estimate_cohens_kappa
from rlaif_dagster.judge_quality.rows import LABELS, JudgedRow

BothOrders = tuple[JudgedRow, JudgedRow]
"""The same pair and repeat judged in both orders: first `ab`, then `ba`."""

_POINTS: Final = {"first": 1.0, "tie": 0.5, "second": 0.0}


def list_both_orders(rows: Iterable[JudgedRow]) -> list[BothOrders]:
    """Returns one judge's questions that were asked in both orders, with or without a verdict."""
    units: dict[tuple[str, int], dict[str, JudgedRow]] = {}
    for row in rows:
        units.setdefault((row.pair.pair_id, row.repeat), {})[row.order] = row
    return [(unit["ab"], unit["ba"]) for _, unit in sorted(units.items()) if len(unit) > 1]


def measure_orders(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    """Measures agreement of one judge's orders and its position bias; see `judge_figures.py` for each figure."""
    asked = list_both_orders(rows)
    told = [unit for unit in asked if None not in (unit[0].verdict, unit[1].verdict)]
    clusters = [ab.pair.cluster for ab, _ in told]
    first_first = [ab.verdict == ba.verdict == "first" for ab, ba in told]
    second_second = [ab.verdict == ba.verdict == "second" for ab, ba in told]
    cells: dict[str, list[Item]] = {}
    for ab, ba in told:
        if ab.choice is not None and ba.choice is not None:
            cell = (0, LABELS.index(ab.choice), LABELS.index(ba.choice))
            cells.setdefault(ab.pair.cluster, []).append(cell)
    return {
        "order_agreement": estimate_share([_agree(unit) for unit in told], clusters),
        "order_agreement_all": estimate_share(
            [_agree(unit) for unit in asked], [ab.pair.cluster for ab, _ in asked]
        ),
        "pairs_excluded": Figure.from_census(len(asked) - len(told), len(asked))
        if asked
        else Figure.absent(),
        "first_first": estimate_count(first_first, clusters),
        "second_second": estimate_count(second_second, clusters),
        "tie_mixed": estimate_count(
            [(ab.verdict == "tie") != (ba.verdict == "tie") for ab, ba in told], clusters
        ),
        **_compare_flips(sum(first_first), sum(second_second)),
        "position_bias": estimate_mean(
            [_POINTS[ab.verdict or ""] + _POINTS[ba.verdict or ""] - 1.0 for ab, ba in told],
            clusters,
            bounds=(-1.0, 1.0),
        ),
        "kappa_orders": estimate_cohens_kappa(cells),
        **_measure_places(rows),
    }


def _agree(unit: BothOrders) -> float:
    """Returns 1 if both orders prefer the same answer, or both say a tie; a missing verdict agrees with nothing."""
    ab, ba = unit
    return float(ab.choice is not None and ab.choice == ba.choice)


def _measure_places(rows: Iterable[JudgedRow]) -> dict[str, Figure]:
    told = [row for row in rows if row.verdict is not None]
    decided = [row for row in told if row.verdict != "tie"]
    return {
        "first_rate": estimate_share(
            [float(row.verdict == "first") for row in decided], [row.pair.cluster for row in decided]
        ),
        "tie_rate": estimate_share(
            [float(row.verdict == "tie") for row in told], [row.pair.cluster for row in told]
        ),
    }


def _compare_flips(num_first: int, num_second: int) -> dict[str, Figure]:
    """Compares flips to the first place with flips to the second: the exact sign test (McNemar 1947, exact)."""
    from scipy.stats import binomtest

    n = num_first + num_second
    if not n:
        return {"flips_to_first": Figure.absent(), "position_p_value": Figure.absent()}
    test = binomtest(num_first, n, 0.5)
    interval = test.proportion_ci(confidence_level=CONFIDENCE, method="exact")
    share = num_first / n
    return {
        "flips_to_first": Figure(
            value=share, n=n, low=min(float(interval.low), share), high=max(float(interval.high), share)
        ),
        "position_p_value": Figure(value=float(test.pvalue), n=n),
    }
