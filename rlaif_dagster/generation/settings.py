"""Settings of responses: sampled from a local policy, or read from a recorded file."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlaif_dagster.digest import JsonValue


class LocalSamplingSettings(BaseModel):
    """Sampling from the project's own policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    provider: Literal["local"] = "local"
    num_samples: int = Field(default=4, ge=1)
    """Responses per prompt. If it is raised, existing responses are kept."""
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Divides the logits; 0 always takes the most likely token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling (Holtzman et al. 2020): the smallest set of tokens with this probability is kept."""
    max_new_tokens: int = Field(default=64, ge=1)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision of the policy while it samples; a server has its own options."""
    server_command: tuple[str, ...] | None = None
    """A program such as vLLM that serves the folder `{model}` at `{port}` of `{host}` with an OpenAI-compatible API.
    It is started for sampling, and ended after it. Null samples in this process."""

    @field_validator("server_command", mode="before")
    @classmethod
    def _take_list(cls, command: object) -> object:
        return tuple(command) if isinstance(command, list) else command

    @field_validator("server_command")
    @classmethod
    def _require_places(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        words = " ".join(command) if command is not None else "{model} {port}"
        missing = [place for place in ("{model}", "{port}") if place not in words]
        if missing:
            raise ValueError(
                f"the command lacks {missing[0]}; remedy: write the command as in "
                '["vllm", "serve", "{model}", "--host", "{host}", "--port", "{port}"]'
            )
        return command

    @model_validator(mode="after")
    def _refuse_repeated_greedy_answers(self) -> Self:
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"num_samples is {self.num_samples} with temperature 0, so all answers are the same; "
                "remedy: set num_samples to 1, or temperature above 0"
            )
        return self

    def key(self) -> JsonValue:
        """The settings that decide a single response; `num_samples` does not."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            **(
                {"dtype": self.dtype}
                if self.server_command is None
                else {"server": list(self.server_command)}
            ),
        }


class RecordedSamplingSettings(BaseModel):
    """Responses that already exist."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    provider: Literal["recorded"]
    responses: str
    """A JSONL file inside the project; see `generation.recorded`."""


SamplingSettings = Annotated[
    LocalSamplingSettings | RecordedSamplingSettings, Field(discriminator="provider")
]
