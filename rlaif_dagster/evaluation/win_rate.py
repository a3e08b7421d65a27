"""Computes win rates of the aligned policy against the base policy, from held-out comparisons.

An outcome is 1 if the aligned answer is better, 0 if the base answer is, 0.5 for a tie. Two identical answers are a
tie, whatever a judge said. What was not measured is None, never 0 and never a tie.

The law: exchanging the two answers in every comparison turns each win rate p into 1 - p.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.evaluation.along_training import AlongTraining
from rlaif_dagster.evaluation.comparison import EVEN, Comparison, Meter
from rlaif_dagster.evaluation.diversity import measure_diversity
from rlaif_dagster.evaluation.groups import (
    GroupTest,
    GroupWinRate,
    compare_groups,
    summarise_categories,
    summarise_principles,
)
from rlaif_dagster.evaluation.over_optimisation import OverOptimisation
from rlaif_dagster.evaluation.refusals import Answered, is_refusal, measure_refusals
from rlaif_dagster.evaluation.sources import JudgeGap, SourceWinRate, find_judge_gaps, summarise_sources
from rlaif_dagster.former_names import update_names
from rlaif_dagster.generation.finish import FinishReason
from rlaif_dagster.stats.intervals import Estimate
from rlaif_dagster.stats.pairing import PairedFigure


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationMetrics:
    """The figures of an evaluation; None means "not measured".

    Attributes:
        confidence: The confidence of every interval below.
        num_prompts: Held-out prompts.
        num_comparisons: Comparisons on them.
        num_identical: Comparisons whose two answers are the same text: ties.
        num_unjudged: Comparisons for which the judge gave no usable verdict: left out of the judge's figures.
        win_rate_judge: Share of comparisons that the aligned policy wins by the judge, ties half.
        soft_win_rate_judge: Mean of the judge's P(aligned better).
        win_rate_ground_truth: Share of comparisons that the aligned policy wins by the ground truth, ties half.
        win_rate_reward_model: Share in which the reward model scores the aligned answer higher, ties half.
        by_category: The win rates within each category, by name.
        by_principle: The win rates by each principle alone, by name.
        order_consistency: Share of different pairs on which the judge prefers the same answer in both orders.
        judge_ground_truth_agreement: Share of comparisons that the judge decides like the ground truth, among those
            where that is no tie.
        longer_wins_judge: Share of comparisons of unequal length that the longer answer wins by the judge.
        base_tokens: Mean length of the base policy's answers in tokens.
        aligned_tokens: Mean length of the aligned policy's answers in tokens.
        base_cut: Share of the base policy's answers that were cut at `max_new_tokens`.
        aligned_cut: Share of the aligned policy's answers that were cut.
        token_difference: Mean of aligned minus base length in tokens.
        base_characters: Mean length of the base policy's answers in characters.
        aligned_characters: Mean length of the aligned policy's answers in characters.
        base_reward: Mean reward of the base policy's answers.
        aligned_reward: Mean reward of the aligned policy's answers.
        base_clean: Share of base answers that the embedded world's grammar accepts.
        aligned_clean: Share of aligned answers that it accepts.
        kl: Mean KL divergence of the aligned from the base policy, in nats per answer.
        reward_model_accuracy: Share of held-out preference pairs that the reward model orders as labelled.
        longer_wins_accuracy: The same for the rule "the longer answer is better": the baseline.
        by_source: Wins, ties and losses, and the length-controlled win rate, by each source of verdicts.
        judge_gaps: How far the judge is from the independent judge and from the ground truth.
        group_tests: Whether the aligned policy is better or worse in each category and by each principle.
        over_optimisation: The curve of best-of-n of the base policy; None if it was not traced.
        along_training: The quality of the answers at training checkpoints, by each source.
        diversity: How varied both policies' answers to one prompt are; empty if each prompt has one answer.
        refusals: How often both policies refuse, by kind of prompt.
    """

    confidence: float
    num_prompts: int
    num_comparisons: int
    num_identical: int
    num_unjudged: int
    win_rate_judge: Estimate | None = None
    soft_win_rate_judge: Estimate | None = None
    win_rate_ground_truth: Estimate | None = None
    win_rate_reward_model: Estimate | None = None
    by_category: tuple[GroupWinRate, ...] = ()
    by_principle: tuple[GroupWinRate, ...] = ()
    order_consistency: Estimate | None = None
    judge_ground_truth_agreement: Estimate | None = None
    longer_wins_judge: Estimate | None = None
    base_tokens: Estimate | None = None
    aligned_tokens: Estimate | None = None
    base_cut: Estimate | None = None
    aligned_cut: Estimate | None = None
    token_difference: Estimate | None = None
    base_characters: Estimate | None = None
    aligned_characters: Estimate | None = None
    base_reward: Estimate | None = None
    aligned_reward: Estimate | None = None
    base_clean: Estimate | None = None
    aligned_clean: Estimate | None = None
    kl: Estimate | None = None
    reward_model_accuracy: Estimate | None = None
    longer_wins_accuracy: Estimate | None = None
    by_source: tuple[SourceWinRate, ...] = ()
    judge_gaps: tuple[JudgeGap, ...] = ()
    group_tests: tuple[GroupTest, ...] = ()
    over_optimisation: OverOptimisation | None = None
    along_training: tuple[AlongTraining, ...] = ()
    diversity: tuple[PairedFigure, ...] = ()
    refusals: tuple[PairedFigure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the metrics as JSON values; `from_json(canonical_json(m.to_json())) == m`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: bytes) -> "EvaluationMetrics":
        """Reads the bytes of `metrics.json`, also those that earlier code wrote.

        Raises:
            ValueError: If they are not metrics (pydantic's error, which names each field).
        """
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_json(canonical_json(update_names(json.loads(data))), strict=True)


def summarise(
    comparisons: Sequence[Comparison],
    *,
    confidence: float = 0.95,
    kl: Estimate | None = None,
    reward_model_accuracy: Estimate | None = None,
    longer_wins_accuracy: Estimate | None = None,
    over_optimisation: OverOptimisation | None = None,
    along_training: tuple[AlongTraining, ...] = (),
    unsafe_categories: Collection[str] = (),
) -> EvaluationMetrics:
    """Summarises held-out comparisons; see `EvaluationMetrics` for each figure's definition.

    Args:
        comparisons: All comparisons, judged or not.
        confidence: The confidence of the intervals, in (0, 1).
        kl: KL divergence of the aligned from the base policy in nats per answer, if it was measured.
        reward_model_accuracy: On held-out preference pairs, if it was measured.
        longer_wins_accuracy: The accuracy of the "longer answer" rule on the same pairs.
        over_optimisation: The curve of best-of-n, if it was traced.
        along_training: The quality of the answers at training checkpoints, by each source.
        unsafe_categories: Categories of prompts that ask for harm.
    """
    meter = Meter(comparisons=comparisons, confidence=confidence)
    return EvaluationMetrics(
        confidence=confidence,
        num_prompts=len({row.prompt_id for row in comparisons}),
        num_comparisons=len(comparisons),
        num_identical=sum(row.identical for row in comparisons),
        num_unjudged=sum(row.judge_outcome is None for row in comparisons),
        win_rate_judge=meter.win_rate(lambda row: row.judge_outcome),
        soft_win_rate_judge=meter.win_rate(
            lambda row: EVEN if row.identical and row.p_judge is not None else row.p_judge
        ),
        win_rate_ground_truth=meter.win_rate(lambda row: row.ground_truth_outcome),
        win_rate_reward_model=meter.win_rate(lambda row: row.reward_outcome),
        by_category=summarise_categories(comparisons, confidence),
        by_principle=summarise_principles(comparisons, confidence),
        order_consistency=meter.share(lambda row: row.agree_orders("judge")),
        judge_ground_truth_agreement=meter.share(_judge_agrees_with_ground_truth),
        longer_wins_judge=meter.share(_longer_wins),
        base_tokens=meter.mean(lambda row: row.base_tokens),
        aligned_tokens=meter.mean(lambda row: row.aligned_tokens),
        base_cut=meter.share(lambda row: _is_cut(row.base_finish_reason)),
        aligned_cut=meter.share(lambda row: _is_cut(row.aligned_finish_reason)),
        token_difference=meter.mean(_token_difference),
        base_characters=meter.mean(lambda row: len(row.base_text)),
        aligned_characters=meter.mean(lambda row: len(row.aligned_text)),
        base_reward=meter.mean(lambda row: row.base_reward),
        aligned_reward=meter.mean(lambda row: row.aligned_reward),
        base_clean=meter.share(lambda row: row.base_clean),
        aligned_clean=meter.share(lambda row: row.aligned_clean),
        kl=kl,
        reward_model_accuracy=reward_model_accuracy,
        longer_wins_accuracy=longer_wins_accuracy,
        by_source=summarise_sources(comparisons, confidence),
        judge_gaps=find_judge_gaps(comparisons, confidence),
        group_tests=compare_groups(comparisons, confidence),
        over_optimisation=over_optimisation,
        along_training=along_training,
        diversity=measure_diversity(
            _collect(comparisons, "base_text"), _collect(comparisons, "aligned_text"), confidence=confidence
        ),
        refusals=measure_refusals(
            [
                Answered(
                    prompt_id=row.prompt_id,
                    is_unsafe=row.category in unsafe_categories,
                    base_refused=is_refusal(row.base_text),
                    aligned_refused=is_refusal(row.aligned_text),
                )
                for row in comparisons
            ],
            confidence=confidence,
        ),
    )


def _collect(comparisons: Sequence[Comparison], text: str) -> dict[str, list[str]]:
    answers: dict[str, list[str]] = {}
    for row in sorted(comparisons, key=lambda row: (row.prompt_id, row.index)):
        answers.setdefault(row.prompt_id, []).append(getattr(row, text))
    return answers


def _judge_agrees_with_ground_truth(row: Comparison) -> float | None:
    if row.judge_outcome is None or row.ground_truth_outcome in {None, EVEN}:
        return None
    return float(row.judge_outcome == row.ground_truth_outcome)


def _longer_wins(row: Comparison) -> float | None:
    difference = _token_difference(row)
    if row.judge_outcome is None or not difference:
        return None
    return row.judge_outcome if difference > 0 else 1.0 - row.judge_outcome


def _is_cut(finish_reason: FinishReason | None) -> float | None:
    return None if finish_reason is None else float(finish_reason == "length")


def _token_difference(row: Comparison) -> int | None:
    if row.base_tokens is None or row.aligned_tokens is None:
        return None
    return row.aligned_tokens - row.base_tokens
