"""The checks of an evaluation, which its own stage and the release use."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.evaluation.comparison import EVEN
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.graph.checks import check_cut, check_schema
from rlaif_dagster.graph.stage import (
    Check,
    CheckResult,
)
from rlaif_dagster.names import COMPARISONS_TABLE, METRICS_JSON

if TYPE_CHECKING:
    pass

_Number = TypeVar("_Number", int, float)

_NOTHING: Final = "nothing"


def ask_for(settings: EvaluationSettings) -> dict[str, JsonValue]:
    """Lists the thresholds that the settings require of an evaluation, by check."""
    return {
        "no_regression": [*settings.no_regression] or _NOTHING,
        "not_over_optimised": "a measurement" if measures_along_training(settings) else _NOTHING,
    }


def make_evaluation_checks(required: Mapping[str, JsonValue]) -> tuple[Check, ...]:
    """Makes the checks of an evaluation for given thresholds; none of them reads its inputs."""
    groups, measurement = (required.get(name, _NOTHING) for name in ("no_regression", "not_over_optimised"))
    return (
        check_schema(COMPARISONS_TABLE, _comparisons_schema, key=("prompt_id", "index")),
        Check(
            name="win_rate_over_half",
            description="The judge prefers the aligned policy on held-out prompts: the interval of its win rate "
            "lies above 50 %.",
            blocking=False,
            run=_check_win_rate,
        ),
        Check(
            name="no_regression",
            description="The aligned policy is not shown to be worse than the base policy in the categories and by the "
            "principles of `evaluation.no_regression` in pipeline.yaml.",
            blocking=True,
            run=functools.partial(_check_no_regression, groups),
            required=groups,
        ),
        Check(
            name="not_over_optimised",
            description="The checkpoint that became the aligned policy does not have a significantly higher reward and "
            "a significantly lower win rate than an earlier one, by the ground truth or by a judge that was asked. The "
            "check fails if it was to be measured and could not be.",
            blocking=False,
            run=functools.partial(_check_over_optimised, measurement),
            required=measurement,
        ),
        check_cut("evaluation.max_new_tokens", _read_shares_cut),
    )


def _comparisons_schema() -> Any:
    from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA

    return COMPARISONS_SCHEMA


def _check_win_rate(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs

    win_rate = json.loads((output / METRICS_JSON).read_bytes())["win_rate_judge"]
    if win_rate is None:
        return CheckResult(passed=False, facts={"why": "the judge gave no verdict on held-out answers"})
    return CheckResult(passed=win_rate["low"] > EVEN, facts=win_rate)


def _read_shares_cut(folder: Path) -> dict[str, float | None]:

    metrics = json.loads((folder / METRICS_JSON).read_bytes())
    return {name: metrics[name] and metrics[name]["value"] for name in ("base_cut", "aligned_cut")}


def measures_along_training(settings: EvaluationSettings) -> bool:
    """Whether the ground truth or a judge measures the answers at checkpoints."""
    return settings.ground_truth is not None or settings.judge_checkpoints


def _check_over_optimised(required: JsonValue, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs

    curves = EvaluationMetrics.from_json((output / METRICS_JSON).read_bytes()).along_training
    if not curves:
        return CheckResult(
            passed=required == _NOTHING,
            facts={"why": "the quality of the answers at checkpoints was not measured"},
        )
    return CheckResult(
        passed=all(curve.kept.step not in curve.apart for curve in curves),
        facts={
            curve.scorer: {
                "best_step": curve.best_step,
                "kept_step": curve.kept.step,
                "apart": list(curve.apart),
                "change": asdict(curve.kept.change) if curve.kept.change else None,
            }
            for curve in curves
        },
    )


def _check_no_regression(required: JsonValue, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    from rlaif_dagster.evaluation.groups import find_regressions

    metrics = EvaluationMetrics.from_json((output / METRICS_JSON).read_bytes())
    groups = required if isinstance(required, Sequence) and not isinstance(required, str) else ()
    found = find_regressions(
        metrics.group_tests, [str(name) for name in groups], confidence=metrics.confidence
    )
    return CheckResult(
        passed=not found.worse and not found.not_measured,
        facts={
            "p_values": found.p_values,
            "worse": list(found.worse),
            "not_measured": list(found.not_measured),
            "worse_elsewhere": sorted({test.name for test in metrics.group_tests if test.change == "worse"}),
        },
    )
