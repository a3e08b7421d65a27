"""The interface of policy methods: what they receive and return, and how a training is described to people."""

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
    reward_model: "RewardModel"
    rows: Rows
    seed: int
    reference: Any | None = None

    @property
    def prompts(self) -> list[str]:
        """The training prompts, each once, sorted."""
        return sorted({row["prompt"] for row in self.rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTraining:
    """A training that is ready to start.

    Attributes:
        make_trainer: Makes the trainer from `trainers.training_arguments` and callbacks.
        counts: Numbers of rows trained on and left out, by name.
        metrics: Further figures, by name.
        figures: The figures of each step: a name, and its name in TRL's log.
        guard: The settings that can stop the training at a checkpoint; None for no guard.
    """

    make_trainer: "Callable[[Mapping[str, Any], Sequence[TrainerCallback]], Any]"
    counts: Mapping[str, int]
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    guard: GuardSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The words that describe a training to people.

    Attributes:
        trainer: The trainer and what it learns from, in sentences.
        learned_from: What the loss is averaged over: "training pairs" or "training answers".
        loss: The loss and its unit.
        chance: The loss of a policy that guesses; None if there is no such number.
    """

    trainer: str
    learned_from: str
    loss: str
    chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[S]):
    """A policy method; its module in `training.methods` names it `METHOD`.

    Attributes:
        settings: Its section of `inputs/pipeline.yaml`; `method` there is the name of the method.
        plan: Prepares the training. Raises a TrainingError if there is nothing to learn from.
        word: Describes a training with such settings to people.
    """

    settings: type[S]
    plan: Callable[[Material, S, Progress], PreparedTraining]
    word: Callable[[S], Wording]
