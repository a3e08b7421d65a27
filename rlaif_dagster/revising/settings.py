"""Settings of critique and revision, spelled as in the `revision` section of `inputs/pipeline.yaml`."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.judging.settings import AskedJudge
from rlaif_dagster.training.settings import OptimizerSettings


class SupervisedSettings(OptimizerSettings):
    """Supervised fine-tuning on the revised answers: cross-entropy over their tokens."""

    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    """A model with a million parameters needs about 3e-4; large ones 1e-6 to 2e-5."""
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class RevisionSettings(BaseModel):
    """Whether and how the policy's answers are criticised, revised and learned from before sampling."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    critic: AskedJudge
    """The model that criticises and revises, as in judge.yaml with `verdict: text`; the local model `base_policy` is
    the policy itself."""
    num_samples: int = Field(default=1, ge=1)
    """How many answers to each training prompt are revised; they are sampled with the settings of `sampling`."""
    rounds: int = Field(default=1, ge=1, le=16)
    """How often an answer is criticised and revised, each time by a newly drawn principle."""
    critique_template: str = Field(default="critique", min_length=1)
    """A packaged template or a `.yaml` file inside the project."""
    revision_template: str = Field(default="revision", min_length=1)
    training: SupervisedSettings = SupervisedSettings()

    @model_validator(mode="after")
    def _check_critic(self) -> Self:
        if self.critic.max_tokens_written is None:
            raise ValueError(
                f"a critic writes, but a judge of the provider {self.critic.provider} gives nothing but verdicts; "
                "remedy: set critic.provider to one whose judges write, such as local or openai"
            )
        if self.critic.reading != "text":
            raise ValueError(
                "critic.verdict is logprob, but a critic writes text; remedy: set critic.verdict to text"
            )
        fields = type(self.critic).model_fields
        given = [
            name
            for name in ("protocol", "repeats", "template")
            if getattr(self.critic, name) != fields[name].default
        ]
        if given:
            raise ValueError(
                f"critic.{given[0]} does not apply to a critic; "
                "remedy: remove it; the prompts are critique_template and revision_template"
            )
        return self
