"""What training a policy reports."""

from collections.abc import Mapping
from dataclasses import dataclass


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
        disagreement: Mean spread of an ensemble's scores of an answer; 0 for a single reward model.
    """

    step: int
    mean_reward: float
    kl_k1: float
    kl_k3: float
    mean_num_tokens: float
    rewards: tuple[float, ...]
    disagreement: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """An aligned policy.

    Attributes:
        method: How it was trained.
        counts: What it was trained on and what was left out, by name.
        metrics: Further figures of the method, by name.
        steps: Each step's number from 1, its mean loss and the method's own figures.
        checkpoints: The base policy (step 0), then each checkpoint.
        chosen_step: The checkpoint that was kept; 0 where none is better than the base policy's own weights.
        stopped: Why training ended before its last step, or None.
    """

    method: str
    counts: Mapping[str, int]
    metrics: Mapping[str, float]
    steps: tuple[Mapping[str, float], ...]
    checkpoints: tuple[PolicyCheckpoint, ...]
    chosen_step: int
    stopped: str | None
