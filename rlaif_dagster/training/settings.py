"""Settings of the reward model, and what every method of aligning a policy takes (its own: `training.methods`)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LoraSettings(BaseModel):
    """Low-rank adapters instead of all weights (Hu et al. 2021); merged into the weights when saved."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    r: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(default=32, ge=1)
    """The adapters' output is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    """Which layers get adapters: peft's `all-linear`, a regular expression, or names."""


class OptimizerSettings(BaseModel):
    """What every trainer takes: AdamW with a linear schedule, and precision."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly; afterwards it falls linearly to 0."""
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Passes over the pairs, unless `max_steps` is given."""
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    """Pairs a step on one device."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Batches whose gradients are summed before a step."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_length: int = Field(default=1024, ge=2)
    """Tokens of prompt and answer; a longer answer is cut at its end, a longer prompt drops the pair."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` trains in mixed precision and saves weights in bfloat16."""
    gradient_checkpointing: bool = False
    """Computes activations twice to save memory."""
    lora: LoraSettings | None = None


class RewardModelSettings(OptimizerSettings):
    """A reward model: a scalar head on a language model, trained by the soft Bradley-Terry loss."""

    base: str = "base_policy"
    """`base_policy`, or a model named as in `base_policy.model`, to start from."""
    revision: str | None = None
    """The commit of `base`, where that is a Hugging Face id."""
    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    """A model of a million parameters wants about 1e-3; large ones 1e-6 to 1e-5, with LoRA up to 1e-4."""
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    batch_size: int = Field(default=32, ge=1)
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """By how much a sure label's answers have to be apart before the loss is content; a less sure one's by less."""
    ensemble: int = Field(default=1, ge=1)
    """Models, each from a seed of its own; the score is their mean, and how they differ their disagreement."""


class AlignmentSettings(OptimizerSettings):
    """What every method of aligning a policy takes beside the optimizer: how its checkpoints are measured."""

    learning_rate: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    """A model of a million parameters wants about 3e-4; large ones 1e-7 to 1e-5."""
    checkpoint_steps: int = Field(default=50, ge=1)
    """Every so many steps the policy is sampled and scored by the reward model; the earliest such step
    that is not shown to be worse than the best is kept."""
    checkpoint_prompts: int = Field(default=48, ge=1)
    """Training prompts answered at each checkpoint (fewer if there are fewer)."""
    checkpoint_samples: int = Field(default=1, ge=1)
    """Answers to each of them."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer at a checkpoint, and of the answers that a method learns from."""


class HeldSettings(AlignmentSettings):
    """What the methods take that hold a policy to a reference policy."""

    reference: Literal["previous", "base"] = "previous"
    """The reference policy of a later round: the one that the round started from, or that of the first round."""


class GuardSettings(BaseModel):
    """What stops a policy that games its reward model: signs that need no ground truth."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_length_ratio: float | None = Field(default=2.0, gt=1, allow_inf_nan=False)
    """Mean tokens of an answer against the base policy's, upwards or downwards; null does not look."""
    max_disagreement_ratio: float | None = Field(default=3.0, gt=1, allow_inf_nan=False)
    """Mean spread of an ensemble's scores against that on the base policy's answers; null does not look."""


class LaunchSettings(BaseModel):
    """How many processes train the reward model and the policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_processes: int = Field(default=1, ge=1)
    """Gradients are summed over them, so another number gives other low bits: part of a recipe where it is not 1."""
    config_file: str | None = None
    """A config file of accelerate inside the project, for FSDP or DeepSpeed."""
