"""The schema of `inputs/pipeline.yaml`; each section's settings stand beside the code that they configure."""

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.generation.settings import LocalSamplingSettings, SamplingSettings
from rlaif_dagster.inputs.release import ReleaseSettings
from rlaif_dagster.judging.pairs import PairingSettings
from rlaif_dagster.models import ModelSettings
from rlaif_dagster.preferences import PreferenceSettings
from rlaif_dagster.prompts import PromptsSettings
from rlaif_dagster.revising.settings import RevisionSettings
from rlaif_dagster.training.settings import DpoSettings, RewardModelSettings


class NumericsSettings(BaseModel):
    """How numbers are computed; part of the recipe of every stage that runs a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_threads: int = Field(default=1, ge=1)
    """Threads of one operation; sums are split by thread, so another number gives other low bits."""
    device: str = "cpu"
    """`cpu`, `cuda`, `mps`, or `auto` for the first accelerator there is."""


class ExecutionSettings(BaseModel):
    """How much is done at once: speed and memory, no part of a recipe.

    In float32 it changes no content; in bfloat16, whose noise is larger, single tokens may come out otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sampling_batch_size: int = Field(default=128, ge=1)
    """Responses sampled at once."""
    judging_batch_size: int = Field(default=128, ge=1)
    """Most verdicts asked of a local judge at once."""


class PipelineSettings(BaseModel):
    """Everything about a run that is neither constitution, judge nor prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(default=0, ge=0)
    """The root of every random choice."""
    prompts: PromptsSettings = PromptsSettings()
    base_policy: ModelSettings
    sampling: SamplingSettings = Field(default_factory=LocalSamplingSettings)
    revision: RevisionSettings | None = None
    """Critique, revision and supervised fine-tuning before sampling; null leaves them out."""
    pairing: PairingSettings = PairingSettings()
    preferences: PreferenceSettings = PreferenceSettings()
    reward_model: RewardModelSettings = RewardModelSettings()
    policy: DpoSettings = DpoSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    release: ReleaseSettings = ReleaseSettings()
    numerics: NumericsSettings = NumericsSettings()
    execution: ExecutionSettings = ExecutionSettings()
