"""The stage that decides after a round whether the next one pays."""

import json
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.judge_gates import read_judge_audit
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.rounds import EVALUATION_BEFORE, PLATEAU_BEFORE, Stop
from rlaif_dagster.graph.sources import TABLE_ENGINE
from rlaif_dagster.graph.specs import identity, spec
from rlaif_dagster.graph.stage import (
    Check,
    CheckResult,
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.names import (
    AI_PREFERENCES,
    COMPARISONS_TABLE,
    EVALUATION,
    JUDGE_AUDIT,
    PLATEAU,
    PLATEAU_JSON,
    REPORT_HTML,
)
from rlaif_dagster.rounds.plateau import PlateauSettings


@spec
class PlateauSpec:
    """The thresholds that a round must meet so that the next one is made."""

    plateau: PlateauSettings = identity()
    confidence: float = identity()


def build_plateau(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the decision."""
    return Stage(
        identity=Identity(
            name=PLATEAU,
            code_version="3",
            inputs=(JUDGE_AUDIT, AI_PREFERENCES, EVALUATION),
            spec=PlateauSpec(
                plateau=inputs.pipeline.plateau, confidence=inputs.pipeline.evaluation.confidence
            ),
            engine=(*TABLE_ENGINE, "jinja2", "scipy", "statsmodels"),
        ),
        computing=Computing(compute=compute_plateau, cheap=True),
        governance=Governance(
            checks=(
                Check(
                    name="next_round_pays",
                    description="Every figure of the round is on the good side of its threshold (`plateau` in "
                    "pipeline.yaml); otherwise no further round is made.",
                    blocking=False,
                    run=_check_pays,
                ),
            ),
        ),
        planning=Planning(
            description="What the round achieved: gain, gap, disagreement, length, diversity and the judge's "
            "strength; and whether another round pays.",
            kinds=("json", "html"),
            origins={"": f"{PIPELINE_FILE}:", "confidence": f"{PIPELINE_FILE}: evaluation.confidence"},
        ),
    )


def read_plateau(folder: Path) -> list[dict[str, Any]]:
    """Reads a version of the asset: the rounds up to its own, each with `round`, `signals` and `reasons`."""
    rounds: list[dict[str, Any]] = json.loads((folder / PLATEAU_JSON).read_bytes())["rounds"]
    return rounds


def compute_plateau(context: StageContext, spec: PlateauSpec) -> StageResult:
    """Decides."""
    from rlaif_dagster.evaluation.evaluate import read_comparisons
    from rlaif_dagster.rounds.plateau import list_reasons, watch_round
    from rlaif_dagster.rounds.report import render_rounds

    earlier = context.inputs.get(PLATEAU_BEFORE)
    before = context.inputs.get(EVALUATION_BEFORE)
    rounds = read_plateau(earlier) if earlier else []
    signals = watch_round(
        read_comparisons(context.inputs[EVALUATION] / COMPARISONS_TABLE),
        read_comparisons(before / COMPARISONS_TABLE) if before else None,
        read_preferences(context.inputs[AI_PREFERENCES], "train"),
        read_judge_audit(context.inputs[JUDGE_AUDIT]),
        spec.plateau,
        confidence=spec.confidence,
    )
    number = len(rounds) + 1
    reasons = list_reasons(signals)
    rounds.append({"round": number, "signals": [signal.to_json() for signal in signals], "reasons": reasons})
    (context.output / PLATEAU_JSON).write_bytes(canonical_json({"rounds": rounds}))
    (context.output / REPORT_HTML).write_text(render_rounds(rounds), encoding="utf-8")
    if reasons:
        Stop(by=f"round {number} was the last", reasons=tuple(reasons)).write(context.output)
    return StageResult(
        metrics={
            **{
                signal.name: {"value": signal.value, "low": signal.low, "high": signal.high}
                for signal in signals
            },
            **({"stopped": "; ".join(reasons)} if reasons else {}),
        }
    )


def _check_pays(output: Path, inputs: Any) -> CheckResult:
    del inputs
    newest = read_plateau(output)[-1]
    return CheckResult(
        passed=not newest["reasons"], facts={"round": newest["round"], "why": "; ".join(newest["reasons"])}
    )
