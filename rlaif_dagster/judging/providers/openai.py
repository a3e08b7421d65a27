"""A judge behind any server with OpenAI's chat completions."""

from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, JsonValue, field_validator

from rlaif_dagster.judging.served import ServedJudgeSettings
from rlaif_dagster.judging.settings import SPEED_ONLY, VerdictReading
from rlaif_dagster.serving.formats import ChatSettings

_LONGEST_REPLY: Final = "set max_tokens, and max_tokens_name if the server uses another name"
RESERVED_FIELDS: Final = {
    "model": "set model",
    "messages": "set template",
    "stream": "remove it: replies are not streamed",
    "n": "set repeats",
    "best_of": "set repeats",
    "logprobs": "set verdict to logprob",
    "max_tokens": _LONGEST_REPLY,
    "max_completion_tokens": _LONGEST_REPLY,
    "max_new_tokens": _LONGEST_REPLY,
    "max_output_tokens": _LONGEST_REPLY,
}
"""Fields of a request that other settings decide, with these settings: they fix a request's content and cost."""


class OpenAIJudgeSettings(ServedJudgeSettings):
    """A judge behind an OpenAI-compatible server: vLLM, Ollama, `transformers serve`, or a cloud API."""

    default_url: ClassVar[str | None] = "https://api.openai.com/v1"
    url_variable: ClassVar[str | None] = "OPENAI_BASE_URL"

    provider: Literal["openai"]
    api_key_env: Annotated[str | None, SPEED_ONLY] = Field(default="OPENAI_API_KEY", min_length=1)
    """The environment variable with the key; null for a server without a key."""
    verdict: VerdictReading = "text"
    max_tokens_name: Annotated[Literal["max_tokens", "max_completion_tokens"], SPEED_ONLY] = "max_tokens"
    """The server's name for `max_tokens`."""
    extra_body: dict[str, JsonValue] = Field(default={})
    """Further fields of the request, such as `reasoning_effort`; a field set to null is not sent."""

    @field_validator("extra_body")
    @classmethod
    def _keep_what_is_asked(cls, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        taken = sorted(RESERVED_FIELDS.keys() & body)
        if taken:
            raise ValueError(
                f"{taken[0]!r} is set by another field; remedy: remove it from extra_body; {RESERVED_FIELDS[taken[0]]} "
                "(extra_body is part of the judge's identity, so its questions are asked again)"
            )
        return body

    @property
    def reading(self) -> VerdictReading:
        """The setting `verdict`."""
        return self.verdict

    def describe_chat(self) -> ChatSettings:
        """Adds the fields that this server needs."""
        return replace(super().describe_chat(), max_tokens_name=self.max_tokens_name, extra=self.extra_body)
