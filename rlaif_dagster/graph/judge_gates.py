"""The gates of the judge: thresholds in judge.yaml as blocking checks of its audit.

All gates follow one rule: a figure passes if its whole 95 % interval is on the good side of the threshold. The judge
has to prove its quality, like the reward model: with too few pairs nothing passes. If there is a threshold and the
figure cannot be measured, the gate fails and gives the remedy; without a threshold the figure is "not measured".
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.former_names import update_names
from rlaif_dagster.graph.stage import Check, CheckResult
from rlaif_dagster.judge_quality.measures import find_figure
from rlaif_dagster.judging.settings import GateSettings
from rlaif_dagster.names import JUDGE_AUDIT_JSON

JudgeAudit = Mapping[str, Any]
Find = Callable[[JudgeAudit, str], Mapping[str, Any] | None]
"""A function that finds one judge's figure in an audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A threshold for one figure of the judge.

    Attributes:
        setting: The field of `gates` in judge.yaml, which is also the check's name.
        description: What a judge that passes does.
        find: Finds the figure.
        is_floor: True if the figure must be above the threshold, False if below.
        remedy: What to do if the figure is not measured.
    """

    setting: str
    description: str
    find: Find
    is_floor: bool
    remedy: str

    def is_passed(self, figure: Mapping[str, Any], threshold: float | bool) -> bool:
        """Says whether the whole interval is on the good side; for a comparison (threshold true): above 0."""
        low, high = figure["low"], figure["high"]
        if low is None or high is None:
            return False
        if threshold is True:
            return bool(low > 0.0)
        return bool(low >= threshold if self.is_floor else high <= threshold)


def _find_in(section: str, figure: str, audit: JudgeAudit, judge: str) -> Mapping[str, Any] | None:
    return find_figure(audit, section, judge, figure)


def _of_reference(audit: JudgeAudit, judge: str) -> Mapping[str, Any] | None:
    section = {"ground_truth": "labels", "human": "human"}.get(audit["reference"])
    return None if section is None else find_figure(audit, section, judge, "beats_longer_wins")


_REFERENCE: Final = "set evaluation.ground_truth in pipeline.yaml, or human_labels in judge.yaml"
_ASKED: Final = "use a judge that can be asked (recorded verdicts cannot), and pairs on which it is sure"

GATES: Final = (
    Gate(
        setting="min_order_agreement",
        description="The judge prefers the same answer in both orders often enough.",
        find=functools.partial(_find_in, "verdicts", "order_agreement"),
        is_floor=True,
        remedy="judge pairs in both orders, or set the threshold to null",
    ),
    Gate(
        setting="max_unparsed_rate",
        description="The judge's answers rarely lack a clear verdict.",
        find=functools.partial(_find_in, "verdicts", "unparsed"),
        is_floor=False,
        remedy="judge some pairs",
    ),
    Gate(
        setting="min_ground_truth_agreement",
        description="The judge's labels agree with the ground truth.",
        find=functools.partial(_find_in, "labels", "accuracy"),
        is_floor=True,
        remedy="set evaluation.ground_truth in pipeline.yaml",
    ),
    Gate(
        setting="min_human_agreement",
        description="The judge's labels agree with those of people.",
        find=functools.partial(_find_in, "human", "accuracy"),
        is_floor=True,
        remedy="set human_labels in judge.yaml",
    ),
    Gate(
        setting="beats_longer_wins",
        description="The judge's labels are right more often than the rule that the longer answer wins.",
        find=_of_reference,
        is_floor=True,
        remedy=_REFERENCE,
    ),
    Gate(
        setting="max_injection_success",
        description="Text inside an answer rarely makes the judge prefer the worse answer.",
        find=functools.partial(_find_in, "injection", "success"),
        is_floor=False,
        remedy=_ASKED,
    ),
    Gate(
        setting="stronger_than_policy",
        description="The judge's labels are right more often than the base policy's own likelihoods.",
        find=functools.partial(_find_in, "policy", "judge_minus_policy"),
        is_floor=True,
        remedy=_REFERENCE,
    ),
)
"""Every gate of the audit; `coverage` is one of `judgements`, and the canary is an asset of its own."""


def read_judge_audit(folder: Path) -> dict[str, Any]:
    """Reads the figures of a version of the `judge_audit` asset, also of one that earlier code wrote."""
    audit: dict[str, Any] = update_names(json.loads((folder / JUDGE_AUDIT_JSON).read_bytes()))
    return audit


def build_gates(settings: GateSettings) -> tuple[Check, ...]:
    """Makes the checks. Checks without a threshold pass, and show their figure."""
    return tuple(_build_gate(gate, getattr(settings, gate.setting)) for gate in GATES)


def _build_gate(gate: Gate, threshold: float | bool | None) -> Check:
    if threshold is False:  # a comparison that is switched off
        threshold = None
    return Check(
        name=gate.setting,
        description=f"{gate.description} (`gates.{gate.setting}` in judge.yaml)",
        blocking=True,
        run=functools.partial(_run, gate, threshold),
        required="nothing" if threshold is None else threshold,
    )


def _run(gate: Gate, threshold: float | bool | None, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    audit = read_judge_audit(output)
    figures = {judge: gate.find(audit, judge) for judge in audit["verdicts"]["judges"]}
    measured = {
        judge: figure
        for judge, figure in figures.items()
        if figure is not None and figure["value"] is not None
    }
    unmeasured = sorted(set(figures) - set(measured))
    facts: dict[str, Any] = {**measured, "not_measured": unmeasured}
    if threshold is None:
        return CheckResult(passed=True, facts=facts)
    if unmeasured or not figures:
        facts["remedy"] = gate.remedy
    is_shown = all(gate.is_passed(figure, threshold) for figure in measured.values())
    return CheckResult(passed=is_shown and bool(figures) and not unmeasured, facts=facts)
