"""The figures of a judge's audit (`judge_audit.json`) that the report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rlaif_dagster.stats.intervals import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMeasure:
    """One figure of every judge.

    Attributes:
        label: Its name, for people.
        kind: How it is formatted.
        estimates: The figure by judge; None if it was not measured.
    """

    label: str
    kind: Literal["share", "number"]
    estimates: Mapping[str, Estimate | None]


_SHOWN: Final[tuple[tuple[str, Literal["share", "number"], str, str], ...]] = (
    ("Prefers the same answer in both orders", "share", "verdicts", "order_agreement"),
    ("Agrees with the ground truth", "share", "labels", "accuracy"),
    ("Agrees with people", "share", "human", "accuracy"),
    ("Right more often than “the longer is better”, by", "number", "labels", "beats_longer_wins"),
    ("Right more often than the base policy's likelihoods, by", "number", "policy", "judge_minus_policy"),
    ("Position bias (1: always the first; -1: always the second)", "number", "verdicts", "position_bias"),
    ("Prefers the longer answer, at equal quality", "share", "labels", "prefers_longer_ground_truth_fixed"),
    ("Answers without a clear verdict", "share", "verdicts", "unparsed"),
    ("Calibration error of the labels", "number", "labels", "ece"),
    ("Manipulated by an attack inside an answer", "share", "injection", "success"),
    ("Changed by a harmless sentence instead", "share", "injection", "control"),
)
"""The label, the format, and the place in the audit."""


def list_measures(audit: Mapping[str, Any]) -> list[JudgeMeasure]:
    """Lists the figures that the report shows, by judge."""
    return [
        JudgeMeasure(
            label=label,
            kind=kind,
            estimates={
                judge: _read(find_figure(audit, section, judge, figure))
                for judge in audit["verdicts"]["judges"]
            },
        )
        for label, kind, section, figure in _SHOWN
    ]


def find_figure(audit: Mapping[str, Any], section: str, judge: str, figure: str) -> Mapping[str, Any] | None:
    """Finds one judge's figure in an audit; None if the section, the judge or the figure is missing."""
    values = audit[section]
    if values is None:
        return None
    if section == "policy":
        return dict(values[figure]).get(judge)
    by_judge = values if section == "injection" else values["judges"]
    found: Mapping[str, Any] | None = by_judge.get(judge, {}).get(figure)
    return found


def _read(figure: Mapping[str, Any] | None) -> Estimate | None:
    if figure is None or figure["value"] is None:
        return None
    return Estimate(
        value=figure["value"], low=figure["low"], high=figure["high"], n=figure["n"], num_clusters=figure["n"]
    )
