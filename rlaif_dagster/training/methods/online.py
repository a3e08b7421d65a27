"""Reinforcement learning against the reward model by TRL's RLOOTrainer and GRPOTrainer.

Each step samples answers to some training prompts (`training.sampled_trainers`), scores them, and learns from how an
answer compares with the others to its prompt. Both keep the policy close to the reference policy with beta: RLOO
subtracts beta times the log-ratio of a whole answer from its reward, GRPO adds beta times the KL estimate of each token
to the loss. torch and trl are imported inside the functions.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, model_validator

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import AnsweredPrompt, encode_prompt
from rlaif_dagster.generation.finish import find_finish_reason
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.training.method import Material, Method, PreparedTraining, Wording
from rlaif_dagster.training.settings import GuardSettings, HeldSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback


class OnlineSettings(HeldSettings):
    """Reinforcement learning on answers that the policy samples during training, scored by the reward model.

    `rloo` is REINFORCE with the mean of a prompt's other answers as baseline (Ahmadian et al. 2024), `grpo` group
    relative policy optimisation (Shao et al. 2024).
    """

    method: Literal["rloo", "grpo"]
    beta: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    """The weight of the KL divergence from the reference policy, in reward per nat."""
    num_generations: int = Field(default=4, ge=2)
    """How many answers to each prompt are compared with each other."""
    guard: GuardSettings = GuardSettings()

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        size = self.batch_size * self.gradient_accumulation_steps
        if size % self.num_generations:
            raise ValueError(
                f"a step has {size} answers, which is not a multiple of num_generations ({self.num_generations}); "
                "remedy: make batch_size a multiple of num_generations"
            )
        return self


def plan_online(
    material: Material, settings: OnlineSettings, progress: Progress = ignore_progress
) -> PreparedTraining:
    """Selects the training prompts that leave space for an answer.

    Raises:
        TrainingError: If no prompt does.
    """
    from datasets import Dataset
    from trl import GRPOConfig, RLOOConfig

    from rlaif_dagster.decoding import end_tokens
    from rlaif_dagster.training import trainers
    from rlaif_dagster.training.sampled_trainers import SampledGrpoTrainer, SampledRlooTrainer

    del progress  # only the training takes long
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

    kinds = {"rloo": (SampledRlooTrainer, RLOOConfig), "grpo": (SampledGrpoTrainer, GRPOConfig)}
    trainer_type, config_type = kinds[settings.method]

    def make_trainer(arguments: Mapping[str, Any], callbacks: "Sequence[TrainerCallback]") -> Any:
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

    return PreparedTraining(
        make_trainer=make_trainer,
        counts={
            "num_train_prompts": len(prompts),
            "num_dropped_prompt_too_long": len(material.prompts) - len(prompts),
        },
        figures={"reward": "reward", "num_tokens": "completions/mean_length", "entropy": "entropy"}
        | ({"kl": "kl"} if settings.beta else {}),
        guard=settings.guard,
    )


_LOSSES: Final = {"rloo": "RLOO loss per answer", "grpo": "GRPO loss per token"}


def word_online(settings: OnlineSettings) -> Wording:
    """Describes a training to people."""
    return Wording(
        trainer=f"TRL's {settings.method.upper()}Trainer on its own answers, scored by the reward model.",
        learned_from="training answers",
        loss=_LOSSES[settings.method],
    )


SETTINGS: Final = OnlineSettings
METHOD: Final = Method(settings=OnlineSettings, plan=plan_online, word=word_online)
