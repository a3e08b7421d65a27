"""The stage that compares the aligned policy with the base policy on held-out prompts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.evaluation.comparison import Comparison, Source
from rlaif_dagster.evaluation.facts import (
    CheckpointPoint,
    Curve,
    CurvePoint,
    PrincipleFact,
    RunFacts,
    TrainingCurves,
)
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.graph.along_training import CheckpointAnswers, trace_checkpoints
from rlaif_dagster.graph.best_of_n import trace_best_of_n
from rlaif_dagster.graph.comparisons import compare_answers, measure_kl
from rlaif_dagster.graph.evaluation_checks import ask_for, make_evaluation_checks
from rlaif_dagster.graph.held_out import (
    EvaluationSpec,
    HeldOutAnswers,
    HeldOutVerdicts,
    answer_held_out,
    judge_answers,
)
from rlaif_dagster.graph.judge_gates import read_judge_audit
from rlaif_dagster.graph.judging import write_judgements
from rlaif_dagster.graph.learning import TRAINING_ENGINE, read_training, write_plots
from rlaif_dagster.graph.sources import read_constitution, read_prompts
from rlaif_dagster.graph.stage import (
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.names import (
    AI_PREFERENCES,
    ALIGNED_POLICY,
    BASE_POLICY,
    CONSTITUTION,
    EVALUATION,
    INPUTS_JSON,
    JUDGE,
    JUDGE_AUDIT,
    JUDGE_JSON,
    PROMPTS,
    REWARD_MODEL,
    SUMMARY_JSON,
)
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.stats.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Number = TypeVar("_Number", int, float)

EVALUATION_ENGINE: Final = (*TRAINING_ENGINE, "jinja2", "scipy", "statsmodels")


def build_evaluation(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the evaluation."""
    spec = EvaluationSpec.from_inputs(inputs)
    return Stage(
        identity=Identity(
            name=EVALUATION,
            code_version="10",
            inputs=(
                PROMPTS,
                CONSTITUTION,
                *spec.judges.values(),
                JUDGE_AUDIT,
                BASE_POLICY,
                AI_PREFERENCES,
                REWARD_MODEL,
                ALIGNED_POLICY,
            ),
            spec=spec,
            engine=EVALUATION_ENGINE,
        ),
        computing=Computing(compute=compute_evaluation, retries_unparsed=spec.asking.retries_unparsed),
        governance=Governance(checks=make_evaluation_checks(ask_for(inputs.pipeline.evaluation))),
        planning=Planning(
            description="Answers of both policies to held-out prompts, compared by the judge, by the ground truth if "
            "there is one, and by the reward model; with a report for people.",
            kinds=("parquet", "html"),
            origins={"": f"{PIPELINE_FILE}:", "server_command": f"{PIPELINE_FILE}: sampling.server_command"},
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """The material of an evaluation.

    Attributes:
        prompts: All prompts.
        constitution: The constitution that answers are judged by.
        answers: Both policies' answers to the held-out prompts.
        checkpoints: The answers at checkpoints of training, if there are any.
    """

    prompts: Sequence[Prompt]
    constitution: Constitution
    answers: HeldOutAnswers
    checkpoints: CheckpointAnswers | None

    @property
    def held_out(self) -> list[Prompt]:
        return [prompt for prompt in self.prompts if prompt.split == "eval"]


def compute_evaluation(context: StageContext, spec: EvaluationSpec) -> StageResult:
    """Samples answers, asks judges, compares, and writes the report."""
    from rlaif_dagster.numerics import prepare_torch

    device = prepare_torch(num_threads=spec.numerics.num_threads, device=spec.numerics.device)
    prompts = read_prompts(context.inputs[PROMPTS])
    material = _Material(
        prompts=prompts,
        constitution=read_constitution(context.inputs[CONSTITUTION]),
        answers=answer_held_out(context, [p for p in prompts if p.split == "eval"], spec),
        checkpoints=CheckpointAnswers.read(context.inputs[ALIGNED_POLICY], prompts),
    )
    judges = _ask_judges(context, spec, material)
    comparisons = list(
        compare_answers(
            context,
            material.held_out,
            material.constitution,
            material.answers,
            judged=judges["judge"],
            independent=judges.get("independent_judge"),
            settings=spec.evaluation,
            device=device,
        )
    )
    metrics = _measure(context, spec, material, judges, comparisons, device=device)
    write_plots(context.output, _draw_figures(metrics))
    (context.output / INPUTS_JSON).write_bytes(
        canonical_json({name: str(digest) for name, digest in context.digests.items()})
    )
    return StageResult(
        rows=len(comparisons),
        counts={**material.answers.counts, **_add(judged.counts for judged in judges.values())},
        metrics={
            **metrics.to_json(),
            **_name_sources(metrics),
            **_add(judged.costs for judged in judges.values()),
        },
        num_open=sum(judged.num_open for judged in judges.values()),
        num_unparsed=_add(judged.num_unparsed for judged in judges.values()),
    )


def _ask_judges(
    context: StageContext, spec: EvaluationSpec, material: _Material
) -> dict[Source, HeldOutVerdicts]:
    """Asks each judge, and writes the verdicts."""
    answers, checkpoints = material.answers, material.checkpoints
    judges = {
        source: judge_answers(
            answers.list_pairs(),
            [
                *(answers.list_pool_pairs() if source == spec.scorer else []),
                *(checkpoints.list_pairs() if checkpoints and source == spec.checkpoint_judge else []),
            ],
            context,
            spec,
            judge=asset,
            responses=[*answers.list_rows(), *(checkpoints.rows if checkpoints else [])],
            prompts=material.prompts,
            constitution=material.constitution,
        )
        for source, asset in spec.judges.items()
    }
    if verdicts := [verdict for judged in judges.values() for verdict in judged.verdicts]:
        write_judgements(context.output, verdicts)
    return judges


def _measure(
    context: StageContext,
    spec: EvaluationSpec,
    material: _Material,
    judges: Mapping[Source, HeldOutVerdicts],
    comparisons: Sequence[Comparison],
    *,
    device: Any,
) -> EvaluationMetrics:
    """Computes the figures, and writes them and the report."""
    from rlaif_dagster.evaluation.evaluate import write_evaluation

    settings, scorer, constitution = spec.evaluation, spec.scorer, material.constitution
    reward_training = read_training(context.inputs[REWARD_MODEL])
    over_optimisation = along_training = None
    if scorer is not None:
        over_optimisation = trace_best_of_n(
            context,
            material.held_out,
            constitution,
            material.answers,
            judges.get(scorer),
            scorer=scorer,
            settings=settings,
            device=device,
        )
    if material.checkpoints:
        along_training = trace_checkpoints(material.checkpoints, constitution, judges, spec)
    return write_evaluation(
        context.output,
        comparisons=comparisons,
        settings=settings,
        facts=_state_facts(context, constitution, settings),
        curves=_read_curves(reward_training, read_training(context.inputs[ALIGNED_POLICY])),
        kl=measure_kl(context, comparisons, settings, device=device),
        reward_model_accuracy=Estimate(**reward_training["metrics"]["accuracy"]),
        longer_wins_accuracy=Estimate(**reward_training["metrics"]["longer_wins_accuracy"]),
        over_optimisation=over_optimisation,
        along_training=along_training or (),
    )


def _name_sources(metrics: EvaluationMetrics) -> dict[str, Any]:
    """Gives each win rate in a list a name of its own, for the record and the UI."""
    named = {}
    for found in metrics.by_source:
        if found.source == "independent_judge":
            named["win_rate_independent_judge"] = asdict(found.win_rate)
        if found.length_control is not None:
            named[f"length_controlled_{found.source}"] = asdict(found.length_control.win_rate)
    return named


def _add(counts: Iterable[Mapping[str, _Number]]) -> dict[str, _Number]:
    """Adds counts of the same name."""
    total: dict[str, _Number] = {}
    for name, count in (item for one in counts for item in one.items()):
        total[name] = total[name] + count if name in total else count
    return total


def _state_facts(context: StageContext, constitution: Constitution, settings: EvaluationSettings) -> RunFacts:
    judge = json.loads((context.inputs[JUDGE] / JUDGE_JSON).read_bytes())
    summary = json.loads((context.inputs[AI_PREFERENCES] / SUMMARY_JSON).read_bytes())
    dropped = "num_dropped_"
    return RunFacts(
        principles=tuple(
            PrincipleFact(principle_id=p.id, text=p.text, weight=p.weight) for p in constitution.principles
        ),
        judge={name: str(value) for name, value in judge.items() if value is not None},
        policies={
            "answers to each held-out prompt": str(settings.num_samples),
            "sampling temperature": str(settings.temperature),
        },
        counts={_word(name): count for name, count in summary.items() if not name.startswith(dropped)},
        drops={
            _word(name.removeprefix(dropped)): count
            for name, count in summary.items()
            if name.startswith(dropped)
        },
        digests={
            context.names.get(name, name): str(digest) for name, digest in sorted(context.digests.items())
        },
        audit=read_judge_audit(context.inputs[JUDGE_AUDIT]),
    )


def _word(name: str) -> str:
    return name.removeprefix("num_").replace("_", " ")


def _read_curves(reward_model: Mapping[str, Any], policy: Mapping[str, Any]) -> TrainingCurves:
    def curve(training: Mapping[str, Any]) -> tuple[Curve, ...]:
        points = tuple(CurvePoint(step=step["step"], value=step["loss"]) for step in training["steps"])
        return (Curve(label="training pairs", points=points),)

    return TrainingCurves(
        reward_model_loss=curve(reward_model),
        reward_margins=tuple(reward_model["margins"]),
        policy_loss=curve(policy),
        checkpoints=tuple(CheckpointPoint(**point) for point in policy["checkpoints"]),
    )


def _draw_figures(metrics: EvaluationMetrics) -> "dict[str, Figure]":
    from rlaif_dagster.evaluation import plots
    from rlaif_dagster.evaluation.report import draw_curve, summarise_overall
    from rlaif_dagster.evaluation.source_plots import draw_along_training, draw_sources

    groups = [summarise_overall(metrics), *metrics.by_category, *metrics.by_principle]
    drawn = {
        "win_rates": plots.draw_win_rates(groups, confidence=metrics.confidence),
        "sources": draw_sources(metrics.by_source, confidence=metrics.confidence)
        if metrics.by_source
        else None,
        "over_optimisation": draw_curve(metrics),
        "along_training": draw_along_training(metrics.along_training) if metrics.along_training else None,
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}
