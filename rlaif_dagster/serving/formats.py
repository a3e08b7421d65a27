"""How a chat server wants to be asked, and how it replies: OpenAI's chat completions, and what another format is.

A server of another shape needs a `ChatFormat` of its own, and nothing else: attempts, waits, limits, budgets and keys
are the same for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import JsonValue

from rlaif_dagster.serving.calls import ChatCall, ChatReply
from rlaif_dagster.serving.problems import Problem
from rlaif_dagster.serving.replies import read_reply

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
        reads_first_token: If True, the log-probabilities of the first token are asked for, and a server that never
            gives any is of no use.
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
        """Reads the body of a reply with the status 200; a ValueError, KeyError or the like says that it is none.

        What it says is wrong is then found as for every server: see `rlaif_dagster.serving.problems`.
        """


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
        """Reads a completion, in any of the ways in which servers write them.

        Raises:
            ValueError: If it is none.
        """
        reply = read_reply(body)
        if isinstance(reply.said, Problem):
            raise ValueError(reply.said.words)  # noqa: TRY004 - what was sent is wrong, no type here
        return ChatReply(
            call_id=call_id,
            text=reply.said.text,
            refusal=reply.said.refusal,
            finish_reason=reply.said.finish_reason,
            first_token=reply.said.top,
            prompt_tokens=reply.usage.prompt_tokens,
            completion_tokens=reply.usage.completion_tokens,
        )


CHAT_COMPLETIONS: Final = ChatCompletions()
