"""The types of calls to a chat completions server, and of their outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Message = Mapping[str, str]
"""One turn of a conversation: `role` and `content`."""

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
        text: The model's text, if any.
        refusal: The model's own reason for refusing, if it gives one.
        finish_reason: How the text ended, as the server says: `stop`, `length`, `content_filter` or another word.
        first_token: The most likely first tokens, if they were requested.
        prompt_tokens: Tokens read, if the server counts them.
        completion_tokens: Tokens written, if the server counts them.
    """

    call_id: str
    text: str | None
    refusal: str | None
    finish_reason: str | None
    first_token: tuple[TokenLogprob, ...]
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFailure:
    """Why there is no reply to a call.

    Attributes:
        call_id: The call.
        kind: Whether the server failed or refused.
        reason: The reason, for people; without keys.
    """

    call_id: str
    kind: FailureKind
    reason: str


ChatOutcome = ChatReply | ChatFailure
"""The outcome of a call."""
