"""Best of n: of n answers of the base policy to each prompt the reward model's best is learned by fine-tuning.

The policy that always gives the best of n stands at KL(best of n || base) <= log n - (n - 1) / n (Stiennon et al. 2020,
appendix G.3; an inequality by Beirami et al. 2024). Needs torch: import it lazily.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.tables import Row
from rlaif_dagster.training.methods.method import Material, Plan
from rlaif_dagster.training.settings import BestOfNSettings
from rlaif_dagster.training.supervised import encode_answers, make_sft_trainer


def plan_best_of_n(
    material: Material, settings: BestOfNSettings, progress: Progress = ignore_progress
) -> Plan:
    """Samples and scores the answers, and keeps the best of each prompt.

    Raises:
        TrainingError: If no prompt fits.
    """
    scored = sample_and_score(material, settings, progress)
    best = [max(answers, key=lambda row: row["reward"]) for answers in scored]
    encoded = encode_answers(material.tokenizer, best, max_length=settings.max_length)
    if not encoded.rows:
        raise TrainingError(
            f"policy: none of the {len(best)} prompts fits into {settings.max_length} tokens.\n"
            "  remedy: raise `policy.max_length`"
        )

    def make_trainer(arguments: Mapping[str, Any], callbacks: Sequence[TrainerCallback]) -> Any:
        return make_sft_trainer(
            material.policy,
            material.tokenizer,
            encoded,
            settings,
            arguments=arguments,
            callbacks=callbacks,
        )

    return Plan(
        make_trainer=make_trainer,
        counts={
            "num_train_answers": len(encoded.rows),
            "num_sampled": settings.n * len(scored),
            "num_cut": encoded.num_cut,
            "num_dropped_prompt_too_long": encoded.num_dropped,
        },
        metrics={
            "n": settings.n,
            "mean_reward_sampled": statistics.fmean(row["reward"] for answers in scored for row in answers),
            "mean_reward_best": statistics.fmean(row["reward"] for row in best),
        },
    )


def sample_and_score(
    material: Material, settings: BestOfNSettings, progress: Progress = ignore_progress
) -> list[list[Row]]:
    """Answers each training prompt n times; for each prompt rows with `prompt`, `completion` and `reward`."""
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
    texts = [(prompt, answer.text) for (prompt, _), answer in zip(asked, completions, strict=True)]
    rewards = material.reward_model.score(texts).means
    rows = [
        {"prompt": prompt, "completion": text, "reward": reward}
        for (prompt, text), reward in zip(texts, rewards, strict=True)
    ]
    return [rows[start : start + settings.n] for start in range(0, len(rows), settings.n)]
