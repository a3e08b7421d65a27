"""Measures over-optimisation along training: where the reward rises and the win rate by a more trusted source falls.

Training samples and scores answers at every checkpoint. Here the same answers are compared with those of step 0 to the
same prompts, by the ground truth or a judge. If the reward still rises while the win rate falls, the policy exploits
errors of the reward model (Gao et al. 2023, Scaling laws for reward model overoptimization, arXiv:2210.10760).

Known trade-offs (accepted): the prompts are training prompts, on which the reward model was fitted too; and an answer
has the same seed as that of step 0, so an answer that training has not changed is the same text, and a tie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlaif_dagster.evaluation.comparison import EVEN, Source
from rlaif_dagster.stats.intervals import (
    Estimate,
    clustered_bounded_mean,
    clustered_mean,
    clustered_proportion,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """One answer at a checkpoint.

    Attributes:
        step: The checkpoint.
        prompt_id: Its prompt, which is also the cluster of the intervals.
        index: The 0-based index of the answer to the prompt.
        reward: Its reward by the reward model.
        kl: Its term of the mean that estimates the KL divergence, in nats.
        outcome: Against the answer of step 0 of the same index: 1, 0.5 or 0; None if undecided.
    """

    step: int
    prompt_id: str
    index: int
    reward: float
    kl: float
    outcome: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointChange:
    """The change from the best checkpoint to a later one, paired by answer.

    Attributes:
        reward: The change of the mean reward.
        win_rate: The change of the win rate.
    """

    reward: Estimate
    win_rate: Estimate

    @property
    def is_apart(self) -> bool:
        """Whether the reward is significantly higher now, and the win rate significantly lower."""
        return self.reward.is_above(0.0) and self.win_rate.is_below(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCheckpoint:
    """The policy after some steps.

    Attributes:
        step: Number of training steps; 0 is the policy before training.
        kept: Whether it became the aligned policy.
        kl: KL divergence from the reference policy, in nats per answer.
        reward: Mean reward of its answers.
        win_rate: Share of its answers that are better than those of step 0; a tie counts half. For step 0 it is one
            half by definition.
        change: The change since the best checkpoint; None up to that one.
    """

    step: int
    kept: bool
    kl: Estimate
    reward: Estimate
    win_rate: Estimate
    change: CheckpointChange | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlongTraining:
    """The curve along training.

    Attributes:
        scorer: The source that is trusted more than the reward model: `ground_truth`, `independent_judge` or `judge`.
        num_left_out: Answers left out at all checkpoints, because at one of them the scorer does not decide, or because
            their prompt is no longer known.
        best_step: The checkpoint with the highest win rate, the earliest of equals.
        apart: The checkpoints at which the reward is higher and the win rate lower.
        points: The checkpoints by step, from step 0.
    """

    scorer: Source
    num_left_out: int
    best_step: int
    apart: tuple[int, ...]
    points: tuple[ScoredCheckpoint, ...]

    @property
    def kept(self) -> ScoredCheckpoint:
        """The checkpoint that became the aligned policy."""
        return next(point for point in self.points if point.kept)


def trace_along_training(
    answers: Sequence[ScoredAnswer], *, scorer: Source, kept_step: int, confidence: float = 0.95
) -> AlongTraining | None:
    """Traces reward, win rate and KL divergence over the checkpoints of a training.

    All checkpoints are measured on the same answers. The intervals of changes are wider, so that they hold for every
    two checkpoints at once (Bonferroni), because the data decide which two are compared.

    Args:
        answers: The answers of all checkpoints, including step 0.
        scorer: The source of the outcomes.
        kept_step: The checkpoint that became the aligned policy, one of the steps.
        confidence: The confidence of the intervals, in (0, 1).

    Returns:
        The curve; None without a checkpoint besides step 0, or if nothing is left to measure.
    """
    by_step: dict[int, dict[tuple[str, int], ScoredAnswer]] = {}
    for answer in answers:
        by_step.setdefault(answer.step, {})[answer.prompt_id, answer.index] = answer
    asked = {(answer.prompt_id, answer.index) for answer in answers}
    told = [{key for key, one in rows.items() if one.outcome is not None} for rows in by_step.values()]
    keys = sorted(asked.intersection(*told))
    if len(by_step) == 1 or not keys:
        return None
    rows = {step: [by_step[step][key] for key in keys] for step in sorted(by_step)}
    best_step = max(rows, key=lambda step: (sum(_find_outcomes(rows[step])), -step))
    num_pairs = len(rows) * (len(rows) - 1) // 2
    points = tuple(
        ScoredCheckpoint(
            step=step,
            kept=step == kept_step,
            kl=_estimate([answer.kl for answer in found], found, confidence),
            reward=_estimate([answer.reward for answer in found], found, confidence),
            win_rate=_estimate_win_rate(found, confidence),
            change=_measure_change(rows[best_step], found, 1.0 - (1.0 - confidence) / num_pairs)
            if step > best_step
            else None,
        )
        for step, found in rows.items()
    )
    return AlongTraining(
        scorer=scorer,
        num_left_out=len(asked) - len(keys),
        best_step=best_step,
        apart=tuple(point.step for point in points if point.change and point.change.is_apart),
        points=points,
    )


def _measure_change(
    before: Sequence[ScoredAnswer], after: Sequence[ScoredAnswer], confidence: float
) -> CheckpointChange:
    """Estimates how reward and win rate differ, paired by answer."""
    rewards = [now.reward - then.reward for then, now in zip(before, after, strict=True)]
    outcomes = zip(_find_outcomes(before), _find_outcomes(after), strict=True)
    return CheckpointChange(
        reward=_estimate(rewards, after, confidence),
        win_rate=clustered_bounded_mean(
            [now - then for then, now in outcomes],
            [answer.prompt_id for answer in after],
            bounds=(-1.0, 1.0),
            confidence=confidence,
        ),
    )


def _estimate(values: Sequence[float], rows: Sequence[ScoredAnswer], confidence: float) -> Estimate:
    return clustered_mean(values, [answer.prompt_id for answer in rows], confidence=confidence)


def _estimate_win_rate(rows: Sequence[ScoredAnswer], confidence: float) -> Estimate:
    clusters = [answer.prompt_id for answer in rows]
    if rows[0].step == 0:  # against itself
        return Estimate(value=EVEN, low=EVEN, high=EVEN, n=len(rows), num_clusters=len(set(clusters)))
    return clustered_proportion(_find_outcomes(rows), clusters, confidence=confidence)


def _find_outcomes(rows: Sequence[ScoredAnswer]) -> list[float]:
    return [answer.outcome for answer in rows if answer.outcome is not None]
