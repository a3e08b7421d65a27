"""Computes every figure of every judge in a set of verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif_dagster.judge_quality.accuracy import measure_accuracy
from rlaif_dagster.judge_quality.bias import (
    measure_length_preference,
    measure_self_preference,
    measure_sources,
    score_pairs,
)
from rlaif_dagster.judge_quality.calibration import list_soft_labels, measure_calibration
from rlaif_dagster.judge_quality.figure_definitions import INTERVALS, RATER_FIGURES, SOURCE_FIGURE
from rlaif_dagster.judge_quality.figures import Figure, estimate_share
from rlaif_dagster.judge_quality.judge_figures import JUDGE_FIGURES
from rlaif_dagster.judge_quality.orders import measure_orders
from rlaif_dagster.judge_quality.raters import RatersResult, measure_raters
from rlaif_dagster.judge_quality.rows import JudgedRow, group_by_judge
from rlaif_dagster.judge_quality.stability import measure_stability


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAuditResult:
    """What an audit found.

    Attributes:
        judges: By judge, the figures of `JUDGE_FIGURES` by key, in that order.
        sources: By judge and source, `SOURCE_FIGURE`; a judge without sources has none.
        raters: Agreement of the judges with each other; None if there is only one judge.
    """

    judges: Mapping[str, Mapping[str, Figure]]
    sources: Mapping[str, Mapping[str, Figure]]
    raters: RatersResult | None

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON values, with the definition of each figure."""
        return {
            "judges": {judge: _to_json(figures) for judge, figures in self.judges.items()},
            "sources": {judge: _to_json(figures) for judge, figures in self.sources.items()},
            "raters": None if self.raters is None else _describe_raters(self.raters),
            "definitions": {
                figure.key: {
                    "definition": figure.definition,
                    "n": figure.counts,
                    "interval": INTERVALS[figure.interval],
                }
                for figure in (*JUDGE_FIGURES, SOURCE_FIGURE, *RATER_FIGURES)
            },
        }


def measure_verdicts(rows: Iterable[JudgedRow]) -> JudgeAuditResult:
    """Audits every judge that has verdicts among the rows; the order of the rows changes nothing."""
    by_judge = group_by_judge(rows)
    scores = {judge: score_pairs(judged) for judge, judged in by_judge.items()}
    judges = {
        judge: _audit_judge(judge, judged, {name: scores[name] for name in scores if name != judge})
        for judge, judged in by_judge.items()
    }
    sources = {judge: measure_sources(judged) for judge, judged in by_judge.items()}
    return JudgeAuditResult(
        judges=judges,
        sources={judge: figures for judge, figures in sources.items() if figures},
        raters=measure_raters(by_judge),
    )


def _audit_judge(
    judge: str, rows: Sequence[JudgedRow], others: Mapping[str, Mapping[str, float]]
) -> dict[str, Figure]:
    figures = {
        **_measure_coverage(rows),
        **measure_accuracy(rows),
        **measure_orders(rows),
        **measure_length_preference(rows),
        **measure_self_preference(judge, rows, others),
        **measure_stability(rows),
        **measure_calibration(list_soft_labels(rows)),
    }
    return {definition.key: figures[definition.key] for definition in JUDGE_FIGURES}


def _measure_coverage(rows: Sequence[JudgedRow]) -> dict[str, Figure]:
    pairs = {row.pair.pair_id for row in rows}
    clusters = [row.pair.cluster for row in rows]
    has_status = any(row.status is not None for row in rows)

    def share(status: str) -> Figure:
        return estimate_share([float(row.status == status) for row in rows], clusters)

    return {
        "pairs": Figure.from_census(len(pairs), len(rows)),
        "unparsed": estimate_share(
            [float(row.verdict is None and row.status in (None, "unparsed")) for row in rows], clusters
        ),
        "refused": share("refused") if has_status else Figure.absent(),
        "failed": share("failed") if has_status else Figure.absent(),
    }


def _to_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {key: figure.to_json() for key, figure in figures.items()}


def _describe_raters(raters: RatersResult) -> dict[str, Any]:
    return {
        "unanimous": raters.unanimous.to_json(),
        "fleiss_kappa": raters.fleiss_kappa.to_json(),
        "krippendorff_alpha": raters.krippendorff_alpha.to_json(),
        "pairs": [
            {
                "judges": list(pair.judges),
                "agreement": pair.agreement.to_json(),
                "kappa": pair.kappa.to_json(),
            }
            for pair in raters.pairs
        ],
    }
