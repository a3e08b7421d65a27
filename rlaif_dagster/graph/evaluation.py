"""The stage that measures the aligned policy against the base policy on held-out prompts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.evaluation.comparison import Comparison, PrincipleOutcome
from rlaif_dagster.evaluation.facts import (
    CheckpointPoint,
    Curve,
    CurvePoint,
    PrincipleFact,
    RunFacts,
    TrainingCurves,
)
from rlaif_dagster.evaluation.groups import GroupWinRate
from rlaif_dagster.evaluation.intervals import Estimate
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.judge_gates import read_audit
from rlaif_dagster.graph.judging import ask_about_pairs, read_answers, write_judgements
from rlaif_dagster.graph.learning import TRAINING_ENGINE, read_training, write_plots
from rlaif_dagster.graph.preferences import SUMMARY_JSON
from rlaif_dagster.graph.sources import read_constitution, read_prompts
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.jury import Jury
from rlaif_dagster.judging.opening import JUDGE_JSON, read_combine, read_judges
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.preferences import PreferenceSettings, aggregate_verdicts
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INPUTS_JSON: Final = "inputs.json"
EVALUATION_ENGINE: Final = (*TRAINING_ENGINE, "jinja2", "scipy", "statsmodels")
EVEN: Final = 0.5


def build_evaluation(inputs: ProjectInputs) -> Stage:
    """The stage of the evaluation."""
    settings = inputs.pipeline.evaluation
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed
    execution = inputs.pipeline.execution

    def compute(context: StageContext) -> StageResult:
        from rlaif_dagster.evaluation.evaluate import write_evaluation
        from rlaif_dagster.numerics import prepare_torch

        device = prepare_torch(num_threads=numerics.num_threads, device=numerics.device)
        prompts = [p for p in read_prompts(context.inputs["prompts"]) if p.split == "eval"]
        constitution = read_constitution(context.inputs["constitution"])
        answers = _sample_both(
            context, prompts, settings, seed=seed, device=device, batch_size=execution.sampling_batch_size
        )
        judged = _judge_answers(context, prompts, constitution, answers, inputs=inputs)
        comparisons = list(
            _compare(context, prompts, constitution, answers, judged, settings=settings, device=device)
        )
        reward_training = read_training(context.inputs["reward_model"])
        policy_training = read_training(context.inputs["aligned_policy"])
        metrics = write_evaluation(
            context.output,
            comparisons=comparisons,
            settings=settings,
            facts=_state_facts(context, constitution, settings),
            curves=_read_curves(reward_training, policy_training),
            kl=_measure_kl(context, comparisons, settings, device=device),
            reward_model_accuracy=Estimate(**reward_training["metrics"]["accuracy"]),
            longer_wins_accuracy=Estimate(**reward_training["metrics"]["longer_wins_accuracy"]),
        )
        write_plots(context.output, _draw_figures(metrics))
        (context.output / INPUTS_JSON).write_bytes(
            canonical_json({name: str(digest) for name, digest in context.digests.items()})
        )
        return StageResult(
            rows=len(comparisons),
            counts={"num_sampled": len(answers.base) + len(answers.aligned), **judged.counts},
            metrics={**metrics.to_json(), **judged.costs},
            num_open=judged.num_open,
        )

    return Stage(
        name="evaluation",
        description="Held-out answers of both policies compared by the judge, by gold where there is gold, and by the "
        "reward model; with a report for people.",
        kinds=("parquet", "html"),
        code_version="5",
        inputs=(
            "prompts",
            "constitution",
            "judge",
            "judge_audit",
            "base_policy",
            "ai_preferences",
            "reward_model",
            "aligned_policy",
        ),
        settings={
            "evaluation": settings.model_dump(mode="json"),
            "seed": seed,
        },
        engine=EVALUATION_ENGINE,
        compute=compute,
        numerics=numerics,
        checks=make_evaluation_checks(),
    )


def make_evaluation_checks() -> tuple[Check, ...]:
    """The checks of an evaluation; none reads its inputs."""
    return (
        check_schema("comparisons.parquet", _comparisons_schema, key=("prompt_id", "index")),
        Check(
            name="win_rate_over_half",
            description="The judge prefers the aligned policy on held-out prompts: the interval of its win rate "
            "lies above 50 %.",
            blocking=False,
            run=_check_win_rate,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers of both policies by (prompt id, index)."""

    base: Mapping[tuple[str, int], Row]
    aligned: Mapping[tuple[str, int], Row]


@dataclass(frozen=True, slots=True)
class _Judged:
    """Preference rows by pair id, and what they cost."""

    by_pair: Mapping[str, Row]
    counts: Mapping[str, int]
    costs: Mapping[str, float]
    num_open: int


def _sample_both(
    context: StageContext,
    prompts: Sequence[Prompt],
    settings: EvaluationSettings,
    *,
    seed: int,
    device: Any,
    batch_size: int,
) -> _Answers:
    from rlaif_dagster.generation.sampling import sample_responses

    sampling = LocalSamplingSettings(
        num_samples=settings.num_samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        dtype=settings.dtype,
    )
    found = []
    for policy in ("base_policy", "aligned_policy"):
        result = sample_responses(
            context.inputs[policy],
            [{"prompt_id": p.prompt_id, "prompt": p.prompt} for p in prompts],
            sampling,
            root_seed=seed,
            policy_digest=str(context.digests[policy]),
            device=device,
            batch_size=batch_size,
            progress=context.progress,
        )
        found.append({(row["prompt_id"], row["index"]): row for row in result.rows})
    return _Answers(*found)


def _pair(answers: _Answers, key: tuple[str, int]) -> Pair | None:
    """The pair of both policies' answers; None where they are the same text."""
    base, aligned = answers.base[key], answers.aligned[key]
    if base["text"] == aligned["text"]:
        return None
    return Pair.from_responses(key[0], base["response_id"], aligned["response_id"])


def _judge_answers(
    context: StageContext,
    prompts: Sequence[Prompt],
    constitution: Constitution,
    answers: _Answers,
    inputs: ProjectInputs,
) -> _Judged:
    judges = read_judges(context.inputs["judge"])
    if not judges:
        return _Judged(
            by_pair={}, counts={}, costs={}, num_open=0
        )  # recorded verdicts say nothing of new answers
    responses = [*answers.base.values(), *answers.aligned.values()]
    with ask_about_pairs(
        [pair for key in answers.base if (pair := _pair(answers, key)) is not None],
        context,
        inputs,
        prompts={p.prompt_id: p.prompt for p in prompts},
        texts={row["response_id"]: row["text"] for row in responses},
        earlier=lambda: (read_answers(folder) for folder in context.earlier_versions()),
    ) as asked:
        verdicts = list(asked.verdicts)
    write_judgements(context.output, verdicts)
    can_change = not all(judge.profile.is_final for judge in judges.values())
    preferences = aggregate_verdicts(
        verdicts,
        constitution=constitution,
        prompts=[{"prompt_id": p.prompt_id, "prompt": p.prompt, "split": p.split} for p in prompts],
        responses=responses,
        settings=PreferenceSettings(),
        protocol=next(iter(judges.values())).profile.protocol,
        jury=Jury.from_verdicts(read_combine(context.inputs["judge"]), verdicts),
    )
    return _Judged(
        by_pair={row["pair_id"]: row for row in preferences.rows},
        counts=asked.counts,
        costs=asked.costs,
        num_open=sum(verdict.status != "ok" for verdict in verdicts) if can_change else 0,
    )


def _compare(
    context: StageContext,
    prompts: Sequence[Prompt],
    constitution: Constitution,
    answers: _Answers,
    judged: _Judged,
    *,
    settings: EvaluationSettings,
    device: Any,
) -> Iterator[Comparison]:
    from rlaif_dagster.training.rewards import score_responses

    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    keys = sorted(answers.base)
    rewards = score_responses(
        context.inputs["reward_model"],
        [
            (by_id[key[0]].prompt, rows[key]["text"])
            for rows in (answers.base, answers.aligned)
            for key in keys
        ],
        device=device,
        dtype=settings.dtype,
    )
    for place, key in enumerate(keys):
        prompt = by_id[key[0]]
        base, aligned = answers.base[key], answers.aligned[key]
        pair = _pair(answers, key)
        by_judge = (
            _orient(judged.by_pair.get(pair.pair_id), aligned["response_id"]) if pair else _EVEN_LEANING
        )
        gold = _Gold.read(settings, constitution, prompt.prompt, base["text"], aligned["text"])
        yield Comparison(
            prompt_id=prompt.prompt_id,
            index=key[1],
            prompt=prompt.prompt,
            category=prompt.category,
            base_text=base["text"],
            aligned_text=aligned["text"],
            p_judge=by_judge.p,
            p_judge_ab=by_judge.p_aligned_first,
            p_judge_ba=by_judge.p_base_first,
            gold=gold.outcome,
            principles=tuple(
                PrincipleOutcome(
                    principle_id=principle.id,
                    p_judge=by_judge.by_principle.get(principle.id, by_judge.default),
                    gold=gold.by_principle.get(principle.id),
                )
                for principle in constitution.principles
            ),
            base_reward=rewards[place],
            aligned_reward=rewards[len(keys) + place],
            base_tokens=base["num_tokens"],
            aligned_tokens=aligned["num_tokens"],
            base_clean=gold.base_clean,
            aligned_clean=gold.aligned_clean,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaning:
    """The judge's P(aligned better): combined, by order and by principle; `default` where a principle has none."""

    p: float | None = None
    p_aligned_first: float | None = None
    p_base_first: float | None = None
    by_principle: Mapping[str, float]
    default: float | None = None


_EVEN_LEANING: Final = _Leaning(p=EVEN, by_principle={}, default=EVEN)
"""What can be said of an answer and itself."""


def _orient(row: Row | None, aligned_id: str) -> _Leaning:
    """Turns a preference row's P(a preferred) into P(aligned better)."""
    if row is None:
        return _Leaning(by_principle={})
    aligned_is_a = row["response_a"] == aligned_id

    def turn(p_a: float | None) -> float | None:
        return p_a if p_a is None or aligned_is_a else 1.0 - p_a

    return _Leaning(
        p=turn(row["p_a"]),
        p_aligned_first=turn(row["p_a_ab"] if aligned_is_a else row["p_a_ba"]),
        p_base_first=turn(row["p_a_ba"] if aligned_is_a else row["p_a_ab"]),
        by_principle={
            outcome["principle_id"]: outcome["p_a"] if aligned_is_a else 1.0 - outcome["p_a"]
            for outcome in row["principles"]
            if outcome["principle_id"] is not None
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gold:
    """What the ground truth says of one comparison; None where there is none."""

    outcome: float | None = None
    by_principle: Mapping[str, float | None]
    base_clean: bool | None = None
    aligned_clean: bool | None = None

    @classmethod
    def read(
        cls, settings: EvaluationSettings, constitution: Constitution, prompt: str, base: str, aligned: str
    ) -> "_Gold":
        if settings.gold is None:
            return cls(by_principle={})
        from rlaif_dagster.embedded.gold import gold_preference, is_clean

        return cls(
            outcome=gold_preference(
                [(principle.text, principle.weight) for principle in constitution.principles],
                prompt,
                aligned,
                base,
            ),
            by_principle={
                principle.id: gold_preference([(principle.text, 1.0)], prompt, aligned, base)
                for principle in constitution.principles
            },
            base_clean=is_clean(base),
            aligned_clean=is_clean(aligned),
        )


def _measure_kl(
    context: StageContext, comparisons: Sequence[Comparison], settings: EvaluationSettings, *, device: Any
) -> Estimate | None:
    """KL(aligned || base) in nats per answer; None where answers are not samples of the policy itself."""
    from rlaif_dagster.evaluation.intervals import clustered_mean
    from rlaif_dagster.training.kl import measure_log_ratios

    if settings.temperature != 1.0:
        return None
    ratios = measure_log_ratios(
        context.inputs["aligned_policy"],
        context.inputs["base_policy"],
        [(comparison.prompt, comparison.aligned_text) for comparison in comparisons],
        device=device,
        dtype=settings.dtype,
    )
    return clustered_mean(
        ratios, [comparison.prompt_id for comparison in comparisons], confidence=settings.confidence
    )


def _state_facts(context: StageContext, constitution: Constitution, settings: EvaluationSettings) -> RunFacts:
    judge = json.loads((context.inputs["judge"] / JUDGE_JSON).read_bytes())
    summary = json.loads((context.inputs["ai_preferences"] / SUMMARY_JSON).read_bytes())
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
        digests={name: str(digest) for name, digest in sorted(context.digests.items())},
        audit=read_audit(context.inputs["judge_audit"]),
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

    overall = GroupWinRate(name="all comparisons", judge=metrics.win_rate_judge, gold=metrics.win_rate_gold)
    return {
        "win_rates": plots.draw_win_rates(
            [overall, *metrics.by_category, *metrics.by_principle], confidence=metrics.confidence
        )
    }


def _comparisons_schema() -> Any:
    from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA

    return COMPARISONS_SCHEMA


def _check_win_rate(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    from rlaif_dagster.evaluation.evaluate import METRICS_FILE

    win_rate = json.loads((output / METRICS_FILE).read_bytes())["win_rate_judge"]
    if win_rate is None:
        return CheckResult(passed=False, facts={"why": "the judge gave no verdict on held-out answers"})
    return CheckResult(passed=win_rate["low"] > EVEN, facts=win_rate)
