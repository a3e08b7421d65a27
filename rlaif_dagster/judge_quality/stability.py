"""Measures whether a judge that is asked the same question again gives the same verdict."""

from collections.abc import Sequence

from rlaif_dagster.judge_quality.figures import Figure, Item, estimate_share
from rlaif_dagster.judge_quality.kappas import estimate_krippendorffs_alpha, share_equal_pairs
from rlaif_dagster.judge_quality.rows import LABELS, JudgedRow, Label


def measure_stability(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    """Measures agreement of one judge's repeats of the same question (pair and order), leaving out unparsed ones."""
    choices: dict[tuple[str, str, str], list[Label]] = {}
    for row in rows:
        if row.choice is not None:
            choices.setdefault((row.pair.cluster, row.pair.pair_id, row.order), []).append(row.choice)
    patterns: dict[str, list[Item]] = {}
    for (cluster, _, _), given in sorted(choices.items()):
        if len(given) > 1:
            patterns.setdefault(cluster, []).append(tuple(given.count(label) for label in LABELS))
    return {
        "repeat_agreement": estimate_share(
            [share_equal_pairs(pattern) for units in patterns.values() for pattern in units],
            [cluster for cluster, units in patterns.items() for _ in units],
        ),
        "repeat_alpha": estimate_krippendorffs_alpha(patterns),
    }
