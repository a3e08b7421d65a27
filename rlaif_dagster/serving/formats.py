"""The form of requests and replies of a chat server: OpenAI's chat completions, and the interface of other formats.

A server with another format needs only its own `ChatFormat`: attempts, waits, limits, budgets and keys are the same for
all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import JsonValue

from rlaif_dagster.serving.calls import ChatCall, ChatReply
from rlaif_dagster.serving.problems import Problem
from rlaif_dagster.serving.replies import read_reply

TOP_LOGPROBS: Final = 20
"""How many of the most likely next tokens are requested; servers return no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """The settings that all calls of an exchange have in common.

    Attributes:
        model: The model's name on the server.
        temperature: Divides the logits; 0 takes the most likely token.
        max_tokens: The longest reply, in tokens.
        max_tokens_name: The server's name for `max_tokens`.
        reads_first_token: If True, the log-probabilities of the first token are requested, and a server that never
            returns any cannot be used.
        extra: Further fields of a request, which replace those above; a None field is not sent.
    """

    model: str
    temperature: float
    max_tokens: int
    max_tokens_name: str = "max_tokens"
    reads_first_token: bool = False
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


class ChatFormat(Protocol):
    """The form of requests and replies."""

    @property
    def path(self) -> str:
        """The path after a server's address, such as `/chat/completions`."""

    def write_headers(self, key: str | None) -> Mapping[str, str]:
        """Writes the HTTP headers for the key and other needs of the server; `Content-Type` is added already."""

    def write(self, call: ChatCall, chat: ChatSettings) -> Mapping[str, JsonValue]:
        """Writes the fields of a request's body; a None field is not sent."""

    def read(self, call_id: str, body: bytes) -> ChatReply:
        """Reads the body of a reply with the status 200; raises a ValueError, KeyError or the like if it is no answer.

        Then the server's error message is read as for every server: see `rlaif_dagster.serving.problems`.
        """


class ChatCompletions:
    """OpenAI's chat completions."""

    path: Final = "/chat/completions"

    def write_headers(self, key: str | None) -> Mapping[str, str]:
        """Writes the key as a bearer token."""
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def write(self, call: ChatCall, chat: ChatSettings) -> Mapping[str, JsonValue]:
        """Writes the fields of a request."""
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
        """Reads a completion in any of the forms in which servers write it.

        Raises:
            ValueError: If it is not a completion.
        """
        reply = read_reply(body)
        if isinstance(reply.said, Problem):
            raise ValueError(reply.said.words or reply.body_words)  # noqa: TRY004 - what was sent is wrong, no type here
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
