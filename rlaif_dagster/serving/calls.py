"""The types of calls to a chat completions server, and of their outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Message = Mapping[str, str]
"""One turn of a conversation: `role` and `content`."""

ServerFinishReason = Literal["stop", "length", "content_filter", "tool_calls", "error"]
"""How a text ended: the model ended it; it reached the length limit; a filter ended it; the model asked for a tool;
the server broke off. Servers have more than one word for each."""

FailureKind = Literal["failed", "refused"]
"""`failed`: no reply came; `refused`: the server would not let the model answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """A conversation that the server is asked to continue.

    Attributes:
        call_id: The call's id.
        messages: The conversation.
        seed: The seed of this continuation.
    """

    call_id: str
    messages: Sequence[Message]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One of the most likely next tokens, and the natural logarithm of its probability."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """How the server continued a conversation.

    Attributes:
        call_id: The call.
        text: The model's text, if any, without reasoning that the server sends separately.
        refusal: The model's own reason for refusing, if it gives one.
        finish_reason: How the text ended; None if the server does not say.
        first_token: The most likely first tokens, if they were requested.
        prompt_tokens: Tokens read in all attempts at the call, if the server counts them.
        completion_tokens: Tokens written in all attempts, if the server counts them.
    """

    call_id: str
    text: str | None
    refusal: str | None = None
    finish_reason: ServerFinishReason | None = None
    first_token: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFailure:
    """Why there is no reply to a call.

    Attributes:
        call_id: The call.
        kind: Whether the server failed or refused.
        reason: The reason, for people; without keys.
        prompt_tokens: Tokens read in all attempts at the call, if the server counts them.
        completion_tokens: Tokens written in all attempts, if the server counts them.
    """

    call_id: str
    kind: FailureKind
    reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


ChatOutcome = ChatReply | ChatFailure
"""The outcome of a call."""
