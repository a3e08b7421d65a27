"""Compares held-out answers of the aligned and the base policy by judge, ground truth and reward model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif_dagster.evaluation.comparison import EVEN, Comparison, PrincipleOutcome
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.generation.dialogues import AnsweredPrompt
from rlaif_dagster.graph.held_out import HeldOutAnswers, HeldOutVerdicts
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.names import ALIGNED_POLICY, BASE_POLICY, REWARD_MODEL
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.stats.intervals import Estimate
from rlaif_dagster.tables import Row


def compare_answers(
    context: StageContext,
    prompts: Sequence[Prompt],
    constitution: Constitution,
    answers: HeldOutAnswers,
    *,
    judged: HeldOutVerdicts,
    independent: HeldOutVerdicts | None,
    settings: EvaluationSettings,
    device: Any,
) -> Iterator[Comparison]:
    """Yields a comparison for each answer of both policies, in order of (prompt id, index).

    Args:
        context: The stage's context.
        prompts: The held-out prompts.
        constitution: The constitution that the answers are judged by.
        answers: The answers.
        judged: The judge's verdicts on them.
        independent: The independent judge's verdicts, if there is one.
        settings: The evaluation's settings.
        device: The device of the reward model.
    """
    from rlaif_dagster.training.rewards import score_responses

    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    keys = sorted(answers.base)
    rewards = score_responses(
        context.inputs[REWARD_MODEL],
        [
            AnsweredPrompt.from_response(by_id[key[0]].prompt, rows[key])
            for rows in (answers.base, answers.aligned)
            for key in keys
        ],
        device=device,
        dtype=settings.dtype,
    )
    for place, key in enumerate(keys):
        prompt = by_id[key[0]]
        base, aligned = answers.base[key], answers.aligned[key]
        pair = answers.pair(key)
        by_judge, by_independent = (
            _Leaning.read(verdicts, pair, aligned["response_id"]) for verdicts in (judged, independent)
        )
        ground_truth = _GroundTruth.read(settings, constitution, prompt.prompt, base["text"], aligned["text"])
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
            p_independent=by_independent.p,
            p_independent_ab=by_independent.p_aligned_first,
            p_independent_ba=by_independent.p_base_first,
            ground_truth=ground_truth.outcome,
            principles=tuple(
                PrincipleOutcome(
                    principle_id=principle.id,
                    p_judge=by_judge.by_principle.get(principle.id, by_judge.default),
                    p_independent=by_independent.by_principle.get(principle.id, by_independent.default),
                    ground_truth=ground_truth.by_principle.get(principle.id),
                )
                for principle in constitution.principles
            ),
            base_reward=rewards[place],
            aligned_reward=rewards[len(keys) + place],
            base_tokens=base["num_tokens"],
            aligned_tokens=aligned["num_tokens"],
            base_finish_reason=base["finish_reason"],
            aligned_finish_reason=aligned["finish_reason"],
            base_clean=ground_truth.base_clean,
            aligned_clean=ground_truth.aligned_clean,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaning:
    """A judge's P(aligned better): combined, by order and by principle; `default` if a principle has none."""

    p: float | None = None
    p_aligned_first: float | None = None
    p_base_first: float | None = None
    by_principle: Mapping[str, float]
    default: float | None = None

    @classmethod
    def read(cls, verdicts: HeldOutVerdicts | None, pair: Pair | None, aligned_id: str) -> "_Leaning":
        """Reads a judge's verdict on a pair; equal answers (no pair) need no judge."""
        if verdicts is None:
            return cls(by_principle={})
        if pair is None:
            return cls(p=EVEN, by_principle={}, default=EVEN)
        row = verdicts.by_pair.get(pair.pair_id)
        return cls(by_principle={}) if row is None else _orient(row, aligned_id)


def _orient(row: Row, aligned_id: str) -> _Leaning:
    """Converts a preference row's P(a preferred) into P(aligned better)."""
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
class _GroundTruth:
    """The ground truth's result of one comparison; None if there is none."""

    outcome: float | None = None
    by_principle: Mapping[str, float | None]
    base_clean: bool | None = None
    aligned_clean: bool | None = None

    @classmethod
    def read(
        cls, settings: EvaluationSettings, constitution: Constitution, prompt: str, base: str, aligned: str
    ) -> "_GroundTruth":
        if settings.ground_truth is None:
            return cls(by_principle={})
        from rlaif_dagster.world.ground_truth import ground_truth_preference, is_clean

        return cls(
            outcome=ground_truth_preference(
                [(principle.text, principle.weight) for principle in constitution.principles],
                prompt,
                aligned,
                base,
            ),
            by_principle={
                principle.id: ground_truth_preference([(principle.text, 1.0)], prompt, aligned, base)
                for principle in constitution.principles
            },
            base_clean=is_clean(base),
            aligned_clean=is_clean(aligned),
        )


def measure_kl(
    context: StageContext, comparisons: Sequence[Comparison], settings: EvaluationSettings, *, device: Any
) -> Estimate | None:
    """Measures KL(aligned || base) in nats per answer; None if the answers are not samples of the policy itself."""
    from rlaif_dagster.stats.intervals import clustered_mean
    from rlaif_dagster.training.kl import measure_log_ratios

    if settings.temperature != 1.0:
        return None
    ratios = measure_log_ratios(
        context.inputs[ALIGNED_POLICY],
        context.inputs[BASE_POLICY],
        [
            AnsweredPrompt(
                prompt=comparison.prompt,
                text=comparison.aligned_text,
                finish_reason=comparison.aligned_finish_reason,
            )
            for comparison in comparisons
        ],
        device=device,
        dtype=settings.dtype,
    )
    return clustered_mean(
        ratios, [comparison.prompt_id for comparison in comparisons], confidence=settings.confidence
    )
