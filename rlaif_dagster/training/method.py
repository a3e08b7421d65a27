"""A method of aligning a policy: what it is given, what it gives, and how people are told of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rlaif_dagster.progress import Progress
from rlaif_dagster.tables import Rows
from rlaif_dagster.training.settings import AlignmentSettings, GuardSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback

    from rlaif_dagster.training.rewards import RewardModel

S = TypeVar("S", bound=AlignmentSettings)


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
    reward_model: "RewardModel"
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
        guard: What stops the training at a checkpoint; None for nothing.
    """

    make_trainer: "Callable[[Mapping[str, Any], Sequence[TrainerCallback]], Any]"
    counts: Mapping[str, int]
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    guard: GuardSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How people are told of a training.

    Attributes:
        trainer: Which trainer learns from what, in sentences.
        learned_from: What the loss is taken over: "training pairs" or "training answers".
        loss: The loss and its unit.
        chance: The loss of a policy that knows nothing; None where no number says it.
    """

    trainer: str
    learned_from: str
    loss: str
    chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[S]):
    """A method of aligning a policy; its module in `training.methods` names it `METHOD`.

    Attributes:
        settings: Its section of `inputs/pipeline.yaml`; `method` there is the name of the method.
        plan: Prepares the training. It may raise a TrainingError if there is nothing to learn from.
        word: How people are told of a training with such settings.
    """

    settings: type[S]
    plan: Callable[[Material, S, Progress], Plan]
    word: Callable[[S], Wording]
