"""Scores further answers of the base policy by the reward model and by a more trusted source."""

from collections.abc import Sequence
from typing import Any

from rlaif_dagster.evaluation.comparison import Source
from rlaif_dagster.evaluation.over_optimisation import (
    OverOptimisation,
    ScoredSample,
    trace_over_optimisation,
)
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.generation.dialogues import AnsweredPrompt
from rlaif_dagster.graph.held_out import HeldOutAnswers, HeldOutVerdicts
from rlaif_dagster.graph.outcomes import decide_by_ground_truth, decide_by_judge
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.names import REWARD_MODEL
from rlaif_dagster.prompts import Prompt


def trace_best_of_n(
    context: StageContext,
    prompts: Sequence[Prompt],
    constitution: Constitution,
    answers: HeldOutAnswers,
    verdicts: HeldOutVerdicts | None,
    *,
    scorer: Source,
    settings: EvaluationSettings,
    device: Any,
) -> OverOptimisation | None:
    """Traces the curve of best-of-n over the pool of answers.

    An answer's win rate by the ground truth is over all base answers that are compared with the aligned policy's. By a
    judge it is over the first of them.

    Args:
        context: The stage's context.
        prompts: The held-out prompts.
        constitution: The constitution that the answers are judged by.
        answers: The answers.
        verdicts: The scorer's verdicts, if it is a judge.
        scorer: Who decides which answer is better.
        settings: The evaluation's settings.
        device: The device of the reward model.
    """
    from rlaif_dagster.training.rewards import score_responses

    texts = {prompt.prompt_id: prompt.prompt for prompt in prompts}
    keys = sorted(answers.pool)
    rewards = score_responses(
        context.inputs[REWARD_MODEL],
        [AnsweredPrompt.from_response(texts[key[0]], answers.pool[key]) for key in keys],
        device=device,
        dtype=settings.dtype,
    )
    rivals: dict[str, list[str]] = {}
    for (prompt_id, _), row in sorted(answers.base.items()):
        rivals.setdefault(prompt_id, []).append(row["text"])
    samples = []
    for key, reward in zip(keys, rewards, strict=True):
        answer = answers.pool[key]
        if scorer == "ground_truth":
            outcomes = [
                decide_by_ground_truth(constitution, texts[key[0]], answer["text"], rival)
                for rival in rivals[key[0]]
            ]
        else:
            by_pair = verdicts.by_pair if verdicts else {}
            outcomes = [decide_by_judge(by_pair, answers.pair_in_pool(key), answer["response_id"])]
        known = [outcome for outcome in outcomes if outcome is not None]
        if len(known) == len(outcomes):
            samples.append(ScoredSample(prompt_id=key[0], reward=reward, win_rate=sum(known) / len(known)))
    return trace_over_optimisation(samples, scorer=scorer, confidence=settings.confidence)
