"""Reinforcement learning against the reward model by TRL's RLOOTrainer and GRPOTrainer. Needs trl: import it lazily.

Each step samples answers to some training prompts (`methods.sampled`), scores them, and learns from how an answer
compares with the others to its prompt. Both keep the policy close to the reference policy with beta: RLOO subtracts
beta times the log-ratio of a whole answer from its reward, GRPO adds beta times the KL estimate of each token to the
loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, RLOOConfig

from rlaif_dagster.decoding import end_tokens
from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import AnsweredPrompt, encode_prompt
from rlaif_dagster.generation.responses import find_finish_reason
from rlaif_dagster.training import trainers
from rlaif_dagster.training.methods.method import Material, Plan
from rlaif_dagster.training.methods.sampled import SampledGrpoTrainer, SampledRlooTrainer
from rlaif_dagster.training.settings import OnlineSettings

_KINDS = {
    "rloo": (SampledRlooTrainer, RLOOConfig),
    "grpo": (SampledGrpoTrainer, GRPOConfig),
}


def plan_online(material: Material, settings: OnlineSettings) -> Plan:
    """Selects the training prompts that leave space for an answer.

    Raises:
        TrainingError: If no prompt does.
    """
    room = settings.max_length - settings.max_new_tokens
    prompts = [p for p in material.prompts if len(encode_prompt(material.tokenizer, p)) <= room]
    if not prompts:
        raise TrainingError(
            f"policy: none of the {len(material.prompts)} prompts leaves space for an answer of "
            f"{settings.max_new_tokens} tokens in {settings.max_length}.\n"
            "  remedy: raise `policy.max_length`, or lower `policy.max_new_tokens`"
        )

    ends = frozenset(end_tokens(material.policy, material.tokenizer))

    def reward(
        prompts: Sequence[str], completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any
    ) -> list[float]:
        """Computes the reward model's mean score of each answer."""
        return material.reward_model.score(
            AnsweredPrompt(prompt=prompt, text=text, finish_reason=find_finish_reason(token_ids, ends))
            for prompt, text, token_ids in zip(prompts, completions, completion_ids, strict=True)
        ).means

    trainer_type, config_type = _KINDS[settings.method]

    def make_trainer(arguments: Mapping[str, Any], callbacks: Sequence[TrainerCallback]) -> Any:
        trainer = trainer_type(
            model=material.policy,
            reward_funcs=reward,
            args=config_type(
                beta=settings.beta,
                num_generations=settings.num_generations,
                max_completion_length=settings.max_new_tokens,
                **arguments,
            ),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
            processing_class=material.tokenizer,
            peft_config=trainers.build_lora(settings.lora, task="CAUSAL_LM"),
            callbacks=list(callbacks),
        )
        if material.reference is not None and settings.beta:
            trainer.hold_to(material.reference)
        return trainer

    return Plan(
        make_trainer=make_trainer,
        counts={
            "num_train_prompts": len(prompts),
            "num_dropped_prompt_too_long": len(material.prompts) - len(prompts),
        },
        figures={"reward": "reward", "num_tokens": "completions/mean_length", "entropy": "entropy"}
        | ({"kl": "kl"} if settings.beta else {}),
    )
