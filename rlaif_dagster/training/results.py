"""What training a policy reports."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStep:
    """One step of training.

    Attributes:
        step: From 1.
        loss: Mean loss of the batch, nats.
        reward_margin: Mean implicit reward (beta x log-ratio) of the preferred answers over the others.
        reward_accuracy: Share of the batch's pairs that the implicit reward orders as labelled.
    """

    step: int
    loss: float
    reward_margin: float
    reward_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCheckpoint:
    """The policy's own answers to fixed training prompts after a number of steps.

    Attributes:
        step: Steps trained; 0 is the base policy.
        mean_reward: The reward model's mean score of the answers.
        kl_k1: KL to the base policy, nats a response; see `training.kl.KlEstimate`.
        kl_k3: The same by the estimator of lower variance.
        mean_num_tokens: Mean length of the answers in tokens.
        rewards: The score of each answer.
    """

    step: int
    mean_reward: float
    kl_k1: float
    kl_k3: float
    mean_num_tokens: float
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """An aligned policy.

    Attributes:
        method: How it was trained.
        num_pairs: Pairs trained on.
        num_dropped: Pairs left out, by reason: `reward_model_contradicts`, `prompt_too_long`.
        num_cut: Pairs with an answer cut at `max_length`.
        steps: The course of training.
        checkpoints: The base policy (step 0), then each checkpoint.
        chosen_step: The checkpoint that was kept.
    """

    method: str
    num_pairs: int
    num_dropped: Mapping[str, int]
    num_cut: int
    steps: tuple[PolicyStep, ...]
    checkpoints: tuple[PolicyCheckpoint, ...]
    chosen_step: int
