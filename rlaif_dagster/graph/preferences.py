"""The stage of the soft labels."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.judge_gates import read_judge_audit
from rlaif_dagster.graph.judging import read_bare_verdicts
from rlaif_dagster.graph.responses import read_nameable_responses, view_responses
from rlaif_dagster.graph.sources import TABLE_ENGINE, read_constitution
from rlaif_dagster.graph.specs import forget, identity, spec
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
from rlaif_dagster.inputs.project_inputs import JUDGE_FILE, PIPELINE_FILE, ProjectInputs, RecordedFile
from rlaif_dagster.judging.human import HUMAN_VALUES, read_human_labels
from rlaif_dagster.judging.jury import Jury
from rlaif_dagster.judging.settings import Combine, JudgingProtocol, find_protocol
from rlaif_dagster.names import (
    AI_PREFERENCES,
    CONSTITUTION,
    HUMAN_JSON,
    JUDGE_AUDIT,
    JUDGE_CANARY,
    JUDGEMENTS,
    PREFERENCES_TABLE,
    PROMPTS,
    PROMPTS_TABLE,
    SAMPLED_RESPONSES,
    SUMMARY_JSON,
)
from rlaif_dagster.preferences import PreferenceSettings, aggregate_verdicts, preferences_schema
from rlaif_dagster.rounds.plateau import JUDGE_THRESHOLDS, PlateauSettings, list_reasons, watch_judge
from rlaif_dagster.tables import Row, StoredRows, write_table
from rlaif_dagster.training.pairs import SIDES, read_answer

LEARNED_COLUMNS: Final = (
    "pair_id",
    "prompt_id",
    "split",
    "prompt",
    "text_a",
    "text_b",
    "finish_reason_a",
    "finish_reason_b",
    "p_a",
    "near_tie",
    "chosen",
    "rejected",
)
"""The columns from which reward models and policies learn, and on which they are measured."""
_LATER_COLUMNS: Final = ("finish_reason_a", "finish_reason_b")
"""The columns that a version of 0.1.0 lacks: it is unknown whether an answer was cut."""


_LATER_THRESHOLDS: Final = frozenset(PlateauSettings.model_fields) - JUDGE_THRESHOLDS
"""Thresholds of figures that are known only after training; see `graph.plateau`."""


@spec
class AiPreferencesSpec:
    """How verdicts become labels.

    Attributes:
        preferences: The settings.
        protocol: How the judge is asked.
        combine: How a jury's verdicts are combined.
        human_labels: The labels made by people, if they count.
        plateau: The thresholds that the judge must meet before training, if there are rounds.
        confidence: The confidence of these thresholds' intervals.
    """

    preferences: PreferenceSettings = identity()
    protocol: JudgingProtocol = identity()
    combine: Combine = identity()
    human_labels: RecordedFile | None = identity()
    plateau: PlateauSettings | None = identity(optional=True, without=_LATER_THRESHOLDS)
    confidence: float | None = identity(optional=True)


@with_card
def build_ai_preferences(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the soft labels."""
    pipeline = inputs.pipeline
    has_rounds = pipeline.rounds > 1
    return Stage(
        identity=Identity(
            name=AI_PREFERENCES,
            code_version="7",
            inputs=(
                PROMPTS,
                CONSTITUTION,
                SAMPLED_RESPONSES,
                JUDGEMENTS,
                JUDGE_AUDIT,
                JUDGE_CANARY,
            ),
            spec=AiPreferencesSpec(
                preferences=pipeline.preferences,
                protocol=find_protocol(inputs.judge),
                combine=inputs.judge.combined_by,
                human_labels=inputs.human_labels if pipeline.preferences.human_weight else None,
                plateau=forget(pipeline.plateau, _LATER_THRESHOLDS) if has_rounds else None,
                confidence=pipeline.evaluation.confidence if has_rounds else None,
            ),
            engine=TABLE_ENGINE,
        ),
        computing=Computing(compute=compute_ai_preferences),
        governance=Governance(
            checks=(
                check_schema(PREFERENCES_TABLE, preferences_schema, key=("pair_id",)),
                Check(
                    name="labels_in_both_splits",
                    description="There are labelled pairs to train on and held-out pairs to measure on.",
                    blocking=True,
                    run=_check_splits,
                ),
                *(
                    [_check_round_pays(pipeline.plateau, pipeline.evaluation.confidence)]
                    if has_rounds
                    else []
                ),
            ),
        ),
        planning=Planning(
            description="One soft label for each pair: P(a preferred), over judges, both orders and all principles.",
            kinds=("parquet",),
            origins={
                "preferences": f"{PIPELINE_FILE}: preferences",
                "protocol": f"{JUDGE_FILE}: protocol",
                "combine": f"{JUDGE_FILE}: combine",
                "human_labels": f"{JUDGE_FILE}: human_labels",
                "plateau": f"{PIPELINE_FILE}: plateau",
                "confidence": f"{PIPELINE_FILE}: evaluation.confidence",
            },
        ),
    )


def compute_ai_preferences(context: StageContext, spec: AiPreferencesSpec) -> StageResult:
    """Writes the labels."""
    judgements = context.inputs[JUDGEMENTS]
    prompts = StoredRows(
        path=context.inputs[PROMPTS] / PROMPTS_TABLE, columns=("prompt_id", "prompt", "split")
    )
    people = spec.human_labels
    human = {} if people is None else _read_people(people, prompts, read_nameable_responses(context))
    jury = Jury.from_verdicts(spec.combine, read_bare_verdicts(judgements))
    result = aggregate_verdicts(
        read_bare_verdicts(judgements),
        constitution=read_constitution(context.inputs[CONSTITUTION]),
        prompts=prompts,
        responses=view_responses(context, "response_id", "text", "finish_reason"),
        settings=spec.preferences,
        protocol=spec.protocol,
        jury=jury,
        human=human,
    )
    num_rows = write_table(context.output / PREFERENCES_TABLE, result.rows, preferences_schema())
    counts = {
        "num_pairs": result.num_pairs,
        "num_consistent": result.consistent,
        "num_first_first": result.first_first,
        "num_second_second": result.second_second,
        "num_tie_mixed": result.tie_mixed,
        "num_near_ties": sum(row["near_tie"] for row in result.rows),
        "num_with_cut_answer": sum(
            any(read_answer(row, side).is_cut for side in SIDES) for row in result.rows
        ),
        **{f"num_dropped_{reason}": count for reason, count in sorted(result.dropped.items())},
    }
    if people is not None:
        counts |= {
            "num_human_labels": result.num_human,
            "num_human_labels_unused": len(human) - result.num_human,
        }
        (context.output / HUMAN_JSON).write_bytes(canonical_json(human))
    (context.output / SUMMARY_JSON).write_bytes(canonical_json(counts))
    return StageResult(
        rows=num_rows,
        counts=counts,
        metrics={
            "consistency": result.consistent / result.num_pairs if result.num_pairs else None,
            **({"judge_accuracies": dict(jury.accuracies)} if jury.accuracies else {}),
        },
    )


def _read_people(file: RecordedFile, prompts: Iterable[Row], responses: Sequence[Row]) -> dict[str, float]:
    """Reads the people's label of each pair: 1 if a is better, 0 if b is, 0.5 for a tie."""
    labels = read_human_labels(
        file.path, prompts={row["prompt_id"]: row["prompt"] for row in prompts}, responses=responses
    )
    file.require_unchanged()
    return {pair.pair_id: HUMAN_VALUES[label] for pair, label in labels.labels.items()}


def read_preferences(folder: Path, split: str) -> StoredRows:
    """Opens the rows of one split of the `ai_preferences` asset, with the columns that models need."""
    return StoredRows(
        path=folder / PREFERENCES_TABLE,
        columns=LEARNED_COLUMNS,
        where={"split": split},
        later=_LATER_COLUMNS,
    )


def _check_round_pays(settings: PlateauSettings, confidence: float) -> Check:
    return Check(
        name="round_pays",
        description="The judge is good enough to learn from: it separates the answers, and is right more often than "
        "the policy (`plateau` in pipeline.yaml).",
        blocking=True,
        run=functools.partial(_check_pays, settings, confidence),
    )


def _check_pays(
    settings: PlateauSettings, confidence: float, output: Path, inputs: Mapping[str, Path]
) -> CheckResult:
    rows, audit = read_preferences(output, "train"), read_judge_audit(inputs[JUDGE_AUDIT])
    reasons = list_reasons(watch_judge(rows, audit, settings, confidence=confidence))
    return CheckResult(passed=not reasons, facts={"why": "; ".join(reasons)})


def _check_splits(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    counts = {split: len(read_preferences(output, split)) for split in ("train", "eval")}
    return CheckResult(passed=all(counts.values()), facts=counts)
