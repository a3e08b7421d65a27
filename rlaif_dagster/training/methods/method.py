"""The interface of policy methods: what they receive and return."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlaif_dagster.tables import Rows
from rlaif_dagster.training.rewards import RewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The material for a method.

    Attributes:
        policy: The policy to train, on its device.
        tokenizer: Its tokenizer.
        reward_model: The reward model, on its device.
        rows: `ai_preferences` of the split `train`.
        seed: The seed of the method's own draws.
        reference: The reference policy on its device; None if it is the policy before training.
    """

    policy: Any
    tokenizer: "PreTrainedTokenizerBase"
    reward_model: RewardModel
    rows: Rows
    seed: int
    reference: Any | None = None

    @property
    def prompts(self) -> list[str]:
        """The training prompts, each once, sorted."""
        return sorted({row["prompt"] for row in self.rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A training that is ready to start.

    Attributes:
        make_trainer: Makes the trainer from `trainers.training_arguments` and callbacks.
        counts: Numbers of rows trained on and left out, by name.
        metrics: Further figures, by name.
        figures: The figures of each step: a name, and its name in TRL's log.
    """

    make_trainer: "Callable[[Mapping[str, Any], Sequence[TrainerCallback]], Any]"
    counts: Mapping[str, int]
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
