"""How a chat server wants to be asked, and how it replies: OpenAI's chat completions, and what another format is.

A server of another shape needs a `ChatFormat` of its own, and nothing else: attempts, waits, limits, budgets and keys
are the same for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol

from pydantic import BaseModel, Field, JsonValue, field_validator

from rlaif_dagster.serving.calls import ChatCall, ChatReply, TokenLogprob

TOP_LOGPROBS: Final = 20
"""The likeliest next tokens that are asked for; servers give no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """What all calls of an exchange have in common.

    Attributes:
        model: The model's name at the server.
        temperature: Divides the logits; 0 takes the likeliest token.
        max_tokens: Longest reply, in tokens.
        max_tokens_name: What the server calls it.
        reads_first_token: If True, the log-probabilities of the first token are asked for, and a server that gives
            none is of no use.
        extra: More fields of a request, which replace those above; None leaves a field out.
    """

    model: str
    temperature: float
    max_tokens: int
    max_tokens_name: str = "max_tokens"
    reads_first_token: bool = False
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


class ChatFormat(Protocol):
    """How requests and replies look."""

    @property
    def path(self) -> str:
        """What stands behind a server's address, such as `/chat/completions`."""

    def write_headers(self, key: str | None) -> Mapping[str, str]:
        """The HTTP headers that hold the key and whatever else the server wants; `Content-Type` is there already."""

    def write(self, call: ChatCall, chat: ChatSettings) -> Mapping[str, JsonValue]:
        """The fields of a request's body; one that is None is left out."""

    def read(self, call_id: str, body: bytes) -> ChatReply:
        """Reads the body of a reply with the status 200; a ValueError, KeyError or the like says that it is none."""


class ChatCompletions:
    """OpenAI's chat completions."""

    path: Final = "/chat/completions"

    def write_headers(self, key: str | None) -> Mapping[str, str]:
        """The key as a bearer token."""
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def write(self, call: ChatCall, chat: ChatSettings) -> Mapping[str, JsonValue]:
        """The fields of a request."""
        return {
            "model": chat.model,
            "messages": [dict(message) for message in call.messages],
            "temperature": chat.temperature,
            chat.max_tokens_name: chat.max_tokens,
            **({"logprobs": True, "top_logprobs": TOP_LOGPROBS} if chat.reads_first_token else {}),
            "seed": call.seed,
            **chat.extra,
        }

    def read(self, call_id: str, body: bytes) -> ChatReply:
        """Reads a completion.

        Raises:
            ValueError: If it is none.
        """
        completion = _Completion.model_validate_json(body)
        choice = completion.choices[0]
        return ChatReply(
            call_id=call_id,
            text=choice.message.content,
            refusal=choice.message.refusal,
            finish_reason=choice.finish_reason,
            first_token=choice.list_top(),
            prompt_tokens=completion.usage.prompt_tokens,
            completion_tokens=completion.usage.completion_tokens,
        )


CHAT_COMPLETIONS: Final = ChatCompletions()


class _TopToken(BaseModel):
    token: str
    logprob: Annotated[float, Field(le=1.0)]  # a little above 0 by rounding at worst


class _Token(BaseModel):
    top_logprobs: list[_TopToken] = []


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    def list_top(self) -> tuple[TokenLogprob, ...]:
        """The likeliest first tokens; none where the server does not say."""
        tokens = (self.logprobs.content if self.logprobs else None) or []
        top = tokens[0].top_logprobs if tokens else []
        return tuple(TokenLogprob(token=token.token, logprob=token.logprob) for token in top)


class _Usage(BaseModel):
    prompt_tokens: Annotated[int, Field(ge=0)] | None = None
    completion_tokens: Annotated[int, Field(ge=0)] | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage = _Usage()

    @field_validator("usage", mode="before")
    @classmethod
    def _take_null(cls, usage: object) -> object:
        return {} if usage is None else usage
