"""Settings of the reward model and of the policy, named as the field names them."""

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


class DpoSettings(OptimizerSettings):
    """Direct preference optimisation (Rafailov et al. 2023) with per-pair soft targets."""

    method: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """How strongly the policy is held to the base policy."""
    learning_rate: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    """A model of a million parameters wants about 3e-4; large ones 1e-7 to 1e-5."""
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    reward_filter: float | None = Field(default=0.95, gt=0.5, lt=1)
    """A pair is dropped when the reward model gives at least this probability to the answer that the label
    does not prefer; null keeps every pair."""
    checkpoint_steps: int = Field(default=50, ge=1)
    """Every so many steps the policy is sampled and scored by the reward model; the earliest such step
    that is not shown to be worse than the best is kept."""
    checkpoint_prompts: int = Field(default=48, ge=1)
    """Training prompts answered at each checkpoint (fewer if there are fewer)."""
    checkpoint_samples: int = Field(default=1, ge=1)
    """Answers to each of them."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer at a checkpoint."""


PolicySettings = DpoSettings
"""The methods of aligning a policy; further ones join as a union with `method` as discriminator."""
