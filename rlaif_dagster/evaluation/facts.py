"""Facts for the report besides the comparisons: plain values from earlier stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A value at a training step."""

    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named series over training steps, such as "training pairs" or "held-out pairs"."""

    label: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPoint:
    """One checkpoint of policy training.

    Attributes:
        step: Its training step; 0 is the base policy.
        mean_reward: Mean reward of its answers by the reward model.
        kl: KL divergence from the base policy in nats per answer, if it was measured.
        selected: Whether this checkpoint became the aligned policy.
    """

    step: int
    mean_reward: float
    kl: float | None = None
    selected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurves:
    """Training curves; an empty field is "not recorded" and is not drawn.

    Attributes:
        reward_model_loss: Cross-entropy of the reward model, in nats per pair.
        reward_margins: r(chosen) - r(rejected) of each held-out preference pair.
        policy_loss: Loss of the policy method, in nats per pair for DPO.
        checkpoints: Reward and KL of each checkpoint.
    """

    reward_model_loss: tuple[Curve, ...] = ()
    reward_margins: tuple[float, ...] = ()
    policy_loss: tuple[Curve, ...] = ()
    checkpoints: tuple[CheckpointPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleFact:
    """A principle of the constitution, as written by a person."""

    principle_id: str
    text: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What was compared and how it was made; an empty field is shown as "not recorded".

    Attributes:
        title: Heading of the report.
        constitution_name: The constitution's name.
        principles: Its principles.
        judge: Label to value: provider, model, revision, protocol and so on.
        policies: Label to value: base policy, method, sampling settings and so on.
        counts: Label to number of rows: prompts, answers, verdicts, preference pairs and so on.
        drops: Number of rows left out, by reason.
        digests: Name of an input to its digest.
        limits: Further known limits, one sentence each.
        audit: The judge's audit, as in `judge_audit.json`.
    """

    title: str = "Evaluation of the aligned policy"
    constitution_name: str | None = None
    principles: tuple[PrincipleFact, ...] = ()
    judge: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    audit: Mapping[str, Any] | None = None
