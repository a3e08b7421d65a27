"""Compares how two reward models rank the same answers, by Spearman's rank correlation.

Uses the scores that the evaluations stored, if both scored common answers. Otherwise both stored models score answers
that both sides sampled. torch is imported only in that case.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.generation.dialogues import AnsweredPrompt

MIN_COMMON: Final = 10
"""With fewer stored scores of common answers than this, the models score answers now."""
MAX_SCORED: Final = 512
"""The largest number of answers that the models score, chosen by digest."""

Text = tuple[str, str]
"""A prompt and an answer to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardDiff:
    """How two reward models rank common answers.

    Attributes:
        spearman: The rank correlation, -1 to 1; None if a model gives all answers the same reward, or there are fewer
            than two answers.
        num_answers: Common answers.
        source: `evaluations`: scores that both evaluations stored; `models`: both models scored the answers now.
    """

    spearman: float | None
    num_answers: int
    source: str


def correlate_ranks(before: Mapping[Text, float], after: Mapping[Text, float], *, source: str) -> RewardDiff:
    """Correlates the ranks of the answers that both sides scored (Spearman 1904, American J. of Psychology 15).

    Args:
        before: Side A's reward of each answer.
        after: Side B's.
        source: Where the scores come from.
    """
    common = sorted(before.keys() & after.keys())
    old, new = ([scores[text] for text in common] for scores in (before, after))
    if len(set(old)) < 2 or len(set(new)) < 2:  # noqa: PLR2004 (one value has no ranks)
        return RewardDiff(spearman=None, num_answers=len(common), source=source)
    from scipy.stats import spearmanr

    return RewardDiff(spearman=float(spearmanr(old, new).statistic), num_answers=len(common), source=source)


def collect_scores(comparisons: Iterable[Comparison]) -> dict[Text, float]:
    """Collects the scores of both policies' answers that an evaluation stored."""
    scores: dict[Text, float] = {}
    for row in comparisons:
        for text, reward in ((row.base_text, row.base_reward), (row.aligned_text, row.aligned_reward)):
            if reward is not None:
                scores[row.prompt, text] = reward
    return scores


def compare_reward_models(
    stored: tuple[Mapping[Text, float], Mapping[Text, float]],
    models: tuple[Path | None, Path | None],
    find_common: Callable[[], set[AnsweredPrompt]],
) -> RewardDiff | None:
    """Compares two reward models; None if there are neither stored scores nor models with common answers.

    Args:
        stored: The scores stored by the evaluations of side A and side B.
        models: The folders of both reward models.
        find_common: Returns the answers that both sides sampled; called only if the models must score.
    """
    before, after = stored
    if len(before.keys() & after.keys()) >= MIN_COMMON:
        return correlate_ranks(before, after, source="evaluations")
    old, new = models
    answers = choose_answers(find_common()) if old and new else []
    if not old or not new or not answers:
        return None
    return correlate_ranks(_score(old, answers), _score(new, answers), source="models")


def choose_answers(answers: set[AnsweredPrompt]) -> list[AnsweredPrompt]:
    """Chooses at most MAX_SCORED answers by their digest, so that nobody can influence the choice."""
    return sorted(answers, key=lambda answer: Digest.from_json(list(astuple(answer))).sha256)[:MAX_SCORED]


def _score(model: Path, answers: list[AnsweredPrompt]) -> dict[Text, float]:
    from rlaif_dagster.numerics import prepare_torch
    from rlaif_dagster.training.rewards import score_responses

    device = prepare_torch(num_threads=1, device="auto")
    rewards = score_responses(model, answers, device=device)
    return {(answer.prompt, answer.text): reward for answer, reward in zip(answers, rewards, strict=True)}
