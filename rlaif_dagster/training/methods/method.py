"""What a method of aligning a policy is given, and what it gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlaif_dagster.tables import Rows
from rlaif_dagster.training.rewards import RewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a method learns from.

    Attributes:
        policy: The policy to train, on its device.
        tokenizer: Its tokenizer.
        reward_model: On its device.
        rows: `ai_preferences` of the split `train`.
        seed: Decides what the method draws itself.
        reference: The reference policy on its device; None where it is the policy as it is now.
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
        counts: What is trained on and what is left out, by name.
        metrics: Further figures, by name.
        figures: What each step is described by: a name, and its name in TRL's log.
    """

    make_trainer: "Callable[[Mapping[str, Any], Sequence[TrainerCallback]], Any]"
    counts: Mapping[str, int]
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
