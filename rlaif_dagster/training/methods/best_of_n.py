"""Best of n: fine-tunes the policy on the best of n answers to each prompt, by the reward model.

A policy that always gives the best of n has KL(best of n || base) <= log n - (n - 1) / n (Stiennon et al. 2020,
appendix G.3; an inequality by Beirami et al. 2024). torch and trl are imported inside the functions that are called.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import AnsweredPrompt
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.training.method import Material, Method, PreparedTraining, Wording
from rlaif_dagster.training.settings import AlignmentSettings
from rlaif_dagster.training.supervised import encode_answers, make_sft_trainer

if TYPE_CHECKING:
    from transformers import TrainerCallback


class BestOfNSettings(AlignmentSettings):
    """The best of n answers by the reward model, distilled by supervised fine-tuning."""

    method: Literal["best_of_n"]
    n: int = Field(default=8, ge=2)
    """How many answers are sampled for each training prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardedAnswer:
    """A sampled answer with its score by the reward model."""

    answer: AnsweredPrompt
    reward: float


def plan_best_of_n(
    material: Material, settings: BestOfNSettings, progress: Progress = ignore_progress
) -> PreparedTraining:
    """Samples and scores the answers, and keeps the best of each prompt.

    Raises:
        TrainingError: If no prompt fits.
    """
    scored = sample_and_score(material, settings, progress)
    best = [max(answers, key=lambda one: one.reward) for answers in scored]
    encoded = encode_answers(material.tokenizer, [one.answer for one in best], max_length=settings.max_length)
    if not encoded.rows:
        raise TrainingError(
            f"policy: none of the {len(best)} prompts fits into {settings.max_length} tokens.\n"
            "  remedy: raise `policy.max_length`"
        )

    def make_trainer(arguments: Mapping[str, Any], callbacks: "Sequence[TrainerCallback]") -> Any:
        return make_sft_trainer(
            material.policy,
            material.tokenizer,
            encoded,
            settings,
            arguments=arguments,
            callbacks=callbacks,
        )

    return PreparedTraining(
        make_trainer=make_trainer,
        counts={
            "num_train_answers": len(encoded.rows),
            "num_sampled": settings.n * len(scored),
            "num_cut": encoded.num_cut,
            "num_dropped_prompt_too_long": encoded.num_dropped,
            "num_dropped_empty_answer": encoded.num_empty,
        },
        metrics={
            "n": settings.n,
            "mean_reward_sampled": statistics.fmean(one.reward for answers in scored for one in answers),
            "mean_reward_best": statistics.fmean(one.reward for one in best),
        },
    )


def sample_and_score(
    material: Material, settings: BestOfNSettings, progress: Progress = ignore_progress
) -> list[list[RewardedAnswer]]:
    """Answers each training prompt n times; answers are grouped by prompt."""
    asked = [(prompt, index) for prompt in material.prompts for index in range(settings.n)]
    completions = complete_prompts(
        material.policy,
        material.tokenizer,
        [prompt for prompt, _ in asked],
        seeds=[derive_seed(material.seed, "best of n", prompt, index) for prompt, index in asked],
        settings=LocalSamplingSettings(max_new_tokens=settings.max_new_tokens),
        batch_size=128,
        progress=progress,
    )
    answers = [completion.answer(prompt) for (prompt, _), completion in zip(asked, completions, strict=True)]
    rewards = material.reward_model.score(answers).means
    scored = [
        RewardedAnswer(answer=answer, reward=reward) for answer, reward in zip(answers, rewards, strict=True)
    ]
    return [scored[start : start + settings.n] for start in range(0, len(scored), settings.n)]


def word_best_of_n(settings: BestOfNSettings) -> Wording:
    """Describes a training to people."""
    del settings
    return Wording(
        trainer="TRL's SFTTrainer on the best of n answers by the reward model.",
        learned_from="training answers",
        loss="loss (nats per token)",
    )


SETTINGS: Final = BestOfNSettings
METHOD: Final = Method(settings=BestOfNSettings, plan=plan_best_of_n, word=word_best_of_n)
