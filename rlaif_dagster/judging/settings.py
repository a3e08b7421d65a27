"""Settings of the judge, spelled as in `inputs/judge.yaml`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

JudgingProtocol = Literal["per_principle", "joint"]
"""Whether the judge sees one principle at a time or the whole constitution at once."""


class LocalJudgeSettings(BaseModel):
    """A judge that runs here: any causal language model that transformers opens."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    provider: Literal["local"]
    model: str = Field(min_length=1)
    """`embedded:judge`, a folder inside the project, or a Hugging Face id such as `org/name`."""
    revision: str | None = None
    """For a Hugging Face id: the full commit hash."""
    template: str = Field(default="pairwise", min_length=1)
    """A packaged template (`pairwise`, `compact`) or a `.yaml` file inside the project."""
    protocol: JudgingProtocol = "per_principle"
    verdict: Literal["logprob"] = "logprob"
    """How a verdict is read: from the next-token probabilities of the two verdict words."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: int | None = Field(default=None, ge=1)
    """Longest request in tokens; null for the model's context. Longer ones fail, and are counted."""


class RecordedJudgeSettings(BaseModel):
    """Verdicts that exist already, read from a file (see `rlaif_dagster.judging.recorded`)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    provider: Literal["recorded"]
    verdicts: str = Field(min_length=1)
    """The verdicts file, a path inside the project."""
    name: str | None = Field(default=None, min_length=1)
    """Which judge's rows to take; needed only when the file holds several judges."""


JudgeSettings = Annotated[LocalJudgeSettings | RecordedJudgeSettings, Field(discriminator="provider")]
"""The settings of any judge; `provider` says which."""
