"""What a chat completions server is asked, and what comes of it; the client's own types, whoever asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Message = Mapping[str, str]
"""One turn of a conversation: `role` and `content`."""

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "error"]
"""How a text ended: the model ended it; it reached the length limit; a filter ended it; the model asked for a tool;
the server broke off. Servers have more than one word for each."""

FailureKind = Literal["failed", "refused"]
"""`failed`: no reply came; `refused`: the server would not let the model answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """A conversation that the server is asked to continue.

    Attributes:
        call_id: Names the call.
        messages: The conversation.
        seed: The seed of this continuation.
    """

    call_id: str
    messages: Sequence[Message]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One of the likeliest next tokens, and the natural logarithm of its probability."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """How the server continued a conversation.

    Attributes:
        call_id: The call.
        text: What the model wrote, if it wrote; without reasoning that the server tells apart.
        refusal: Why the model would not answer, in its own words, if it says so.
        finish_reason: How the text ended; None where the server does not say.
        first_token: The likeliest first tokens, if they were asked for.
        prompt_tokens: Tokens read in all attempts at the call, if the server counts them.
        completion_tokens: Tokens written in all attempts, if the server counts them.
    """

    call_id: str
    text: str | None
    refusal: str | None = None
    finish_reason: FinishReason | None = None
    first_token: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFailure:
    """Why there is no reply to a call.

    Attributes:
        call_id: The call.
        kind: Whether the server failed or refused.
        reason: For people; without keys.
        prompt_tokens: Tokens read in all attempts at the call, if the server counts them.
        completion_tokens: Tokens written in all attempts, if the server counts them.
    """

    call_id: str
    kind: FailureKind
    reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


ChatOutcome = ChatReply | ChatFailure
"""What came of a call."""
