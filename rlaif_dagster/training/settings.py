"""Settings of the reward model, and those that all policy methods share (a method's own: `training.methods`)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.names import BASE_POLICY


class LoraSettings(BaseModel):
    """Low-rank adapters instead of all weights (Hu et al. 2021); merged into the weights when saved."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    r: int = Field(default=16, ge=1)
    """The rank of the adapters."""
    alpha: int = Field(default=32, ge=1)
    """The adapters' output is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    """Which layers get adapters: peft's `all-linear`, a regular expression, or names."""


class OptimizerSettings(BaseModel):
    """Settings of every trainer: AdamW with a linear schedule, and precision."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    """The share of steps in which the learning rate rises linearly; afterwards it falls linearly to 0."""
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """The number of passes over the pairs, unless `max_steps` is set."""
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    """The number of pairs per step on one device."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """The number of batches whose gradients are summed before a step."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_length: int = Field(default=1024, ge=2)
    """The most tokens of prompt and answer; a longer answer is cut, a pair with a longer prompt is dropped."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` trains in mixed precision and saves weights in bfloat16."""
    gradient_checkpointing: bool = False
    """Computes activations twice to save memory."""
    lora: LoraSettings | None = None


class RewardModelSettings(OptimizerSettings):
    """A reward model: a scalar head on a language model, trained by the soft Bradley-Terry loss."""

    base: str = BASE_POLICY
    """The model to start from: `base_policy`, or a model named as in `base_policy.model`."""
    revision: str | None = None
    """The commit of `base`, if that is a Hugging Face id."""
    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    """A model with a million parameters needs about 1e-3; large ones 1e-6 to 1e-5, with LoRA up to 1e-4."""
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    batch_size: int = Field(default=32, ge=1)
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far apart the loss pushes the rewards of a pair with a certain label; less for a less certain label."""
    ensemble: int = Field(default=1, ge=1)
    """The number of models, each with its own seed; the score is their mean, and their spread is the disagreement."""


class AlignmentSettings(OptimizerSettings):
    """Settings of every policy method besides the optimizer: how its checkpoints are measured."""

    learning_rate: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    """A model with a million parameters needs about 3e-4; large ones 1e-7 to 1e-5."""
    checkpoint_steps: int = Field(default=50, ge=1)
    """The policy is sampled and scored by the reward model after every so many steps; the earliest checkpoint that is
    not significantly worse than the best is kept."""
    checkpoint_prompts: int = Field(default=48, ge=1)
    """How many training prompts are answered at each checkpoint (fewer if there are fewer)."""
    checkpoint_samples: int = Field(default=1, ge=1)
    """How many answers to each of these prompts."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The longest answer, in tokens, at a checkpoint and in the training of a method that samples."""


class HeldSettings(AlignmentSettings):
    """Settings of the methods that keep a policy close to a reference policy."""

    reference: Literal["previous", "base"] = "previous"
    """The reference policy of a later round: the policy that the round started from, or that of the first round."""


class GuardSettings(BaseModel):
    """What stops a policy that exploits its reward model: signs that need no ground truth."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_length_ratio: float | None = Field(default=2.0, gt=1, allow_inf_nan=False)
    """The largest factor between mean answer lengths of policy and base policy, up or down; null disables the check."""
    max_disagreement_ratio: float | None = Field(default=3.0, gt=1, allow_inf_nan=False)
    """The largest ratio of an ensemble's disagreement to that on base answers; null disables the check."""


class LaunchSettings(BaseModel):
    """How many processes train the reward model and the policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_processes: int = Field(default=1, ge=1)
    """The number of processes. It changes low bits of gradients, so it is part of a recipe if it is not 1."""
    config_file: str | None = None
    """A config file of accelerate inside the project, for FSDP or DeepSpeed."""
