"""The schema of `inputs/pipeline.yaml`; each section's settings are defined beside the code that they configure."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.generation.samplers import SamplingSettings
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.inputs.cron import is_cron
from rlaif_dagster.inputs.release import ReleaseSettings
from rlaif_dagster.judging.pairs import PairingSettings
from rlaif_dagster.models import ModelSettings
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.preferences import PreferenceSettings
from rlaif_dagster.prompts import PromptsSettings
from rlaif_dagster.revising.settings import RevisionSettings
from rlaif_dagster.rounds.plateau import PlateauSettings
from rlaif_dagster.training.methods import PolicySettings
from rlaif_dagster.training.methods.dpo import DpoSettings
from rlaif_dagster.training.settings import LaunchSettings, RewardModelSettings


class ExecutionSettings(BaseModel):
    """How much is done at once: affects speed and memory, and is not part of a recipe.

    In float32 it changes no content; in bfloat16, whose rounding errors are larger, single tokens may change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sampling_batch_size: int = Field(default=128, ge=1)
    """How many responses are sampled at once."""
    judging_batch_size: int = Field(default=128, ge=1)
    """The largest number of questions that a local judge answers at once."""
    restart_steps: int = Field(default=50, ge=1)
    """The number of optimiser steps between restart points, from which a killed training continues."""


class AutomationSettings(BaseModel):
    """When the sensors and the schedule check the inputs; not part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cron: str = "0 3 * * *"
    """When the schedule runs, in UTC: minute, hour, day of the month, month, day of the week."""
    canary_cron: str = "0 6 * * *"
    """When the judge is asked the canary's questions again, in UTC."""
    interval_seconds: int = Field(default=30, ge=1)
    """How often the sensors run."""

    @field_validator("cron", "canary_cron")
    @classmethod
    def _require_cron(cls, text: str) -> str:
        if not is_cron(text):
            raise ValueError(
                f"{text!r} is not a schedule of five fields (minute, hour, day of month, month, day of week) "
                "that can occur; "
                'remedy: write for example "0 3 * * *" for every night at three, or "*/15 * * * *"'
            )
        return text


class PipelineSettings(BaseModel):
    """Every setting of a run except constitution, judge and prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(default=0, ge=0)
    """The seed from which every random choice derives."""
    prompts: PromptsSettings = PromptsSettings()
    base_policy: ModelSettings
    sampling: SamplingSettings = Field(default_factory=LocalSamplingSettings)
    revision: RevisionSettings | None = None
    """Critique, revision and supervised fine-tuning before sampling; null skips them."""
    pairing: PairingSettings = PairingSettings()
    preferences: PreferenceSettings = PreferenceSettings()
    reward_model: RewardModelSettings = RewardModelSettings()
    policy: PolicySettings = Field(default_factory=DpoSettings)
    rounds: int = Field(default=1, ge=1, le=20)
    """The largest number of rounds of sampling, judging and training; each starts from the policy of the one before."""
    plateau: PlateauSettings = PlateauSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    release: ReleaseSettings = ReleaseSettings()
    numerics: NumericsSettings = NumericsSettings()
    launch: LaunchSettings = LaunchSettings()
    execution: ExecutionSettings = ExecutionSettings()
    automation: AutomationSettings = AutomationSettings()
