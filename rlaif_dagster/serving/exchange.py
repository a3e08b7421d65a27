"""What a chat server is sent, and what its replies mean; nothing here touches the network."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, ChatReply
from rlaif_dagster.serving.formats import CHAT_COMPLETIONS, ChatFormat, ChatSettings

SHORTEST_SECRET: Final = 8
"""A key of fewer characters, such as `EMPTY`, is a placeholder, and may be a word of the model's."""
LONGEST_REASON: Final = 300
"""Characters of a server's own words that are kept."""

FaultKind = Literal["silent", "busy", "passing", "lasting", "fatal"]
"""`silent`: no reply, may pass; `busy`: asked too much, may pass; `passing`: another fault that may pass; `lasting`:
this call cannot succeed; `fatal`: no call can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an attempt gave no answer.

    Attributes:
        kind: What is to be done about it.
        reason: For people; without keys.
        remedy: What to do where it does not pass.
        wait_seconds: How long the server asks to wait, where it does.
        is_spent: Whether the attempt may have been billed.
    """

    kind: FaultKind
    reason: str
    remedy: str = "see what the server says"
    wait_seconds: float | None = None
    is_spent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call as it is sent.

    Attributes:
        call_id: The call.
        body: JSON.
        most_input_tokens: No fewer than it has: a token is a byte at least.
        most_output_tokens: No fewer than the server may write.
    """

    call_id: str
    body: bytes
    most_input_tokens: int
    most_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """What a person does about a fault.

    Attributes:
        connection: The server is not reached.
        key: It refuses the key.
        request: It refuses what is asked.
        logprobs: It gives no log-probabilities.
        budget: No more may be spent in this run.
    """

    connection: str
    key: str
    request: str
    logprobs: str = "use a server that gives them"
    budget: str = "allow more"

    def find(self, status: int) -> str:
        """The remedy for an HTTP status."""
        if status in (401, 403):
            return self.key
        return "pay, or use another key" if status == 402 else self.request  # noqa: PLR2004


class Exchange:
    """Writes calls as requests, and reads replies."""

    def __init__(
        self,
        chat: ChatSettings,
        *,
        key: str | None,
        remedies: Remedies,
        chat_format: ChatFormat = CHAT_COMPLETIONS,
    ) -> None:
        """Takes what all calls have in common.

        Args:
            chat: What is asked of the server.
            key: The key, which is sent, and removed from everything that a server says.
            remedies: What to do about faults.
            chat_format: How requests and replies look.
        """
        self._chat = chat
        self._format = chat_format
        self.headers = {"Content-Type": "application/json", **chat_format.write_headers(key)}
        self._secret = key if key is not None and len(key) >= SHORTEST_SECRET else None
        self.remedies = remedies

    def encode(self, call: ChatCall) -> Request:
        """Writes a call's request."""
        fields = self._format.write(call, self._chat)
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
        return Request(
            call_id=call.call_id,
            body=body,
            most_input_tokens=len(body),
            most_output_tokens=self._chat.max_tokens,
        )

    def read(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ChatOutcome | Fault:
        """Reads a reply.

        Args:
            request: What it replies to.
            status: The HTTP status.
            headers: The HTTP headers; names in lower case, or a mapping that does not mind.
            body: The body.
            now: The time, for a `Retry-After` that is a date.
        """
        if status == 200:  # noqa: PLR2004
            try:
                reply = self._format.read(request.call_id, body)
            except (ValueError, LookupError, TypeError, AttributeError):
                return Fault(kind="passing", reason="the reply is not a chat completion", is_spent=True)
            return self._take(reply)
        problem = _Problem.from_body(body)
        said = self.redact(" ".join(problem.message.split()))[:LONGEST_REASON]
        if problem.code == "content_filter":
            return ChatFailure(call_id=request.call_id, kind="refused", reason=f"content filter: {said}")
        kind = _classify(status, problem.code)
        return Fault(
            kind=kind,
            reason=f"HTTP {status}" + (f": {said}" if said else ""),
            remedy=self.remedies.find(status),
            wait_seconds=read_retry_after(headers, now) if kind in ("busy", "passing") else None,
        )

    def redact(self, text: str) -> str:
        """Removes the key from a text."""
        return text if self._secret is None else text.replace(self._secret, "[key]")

    def _take(self, reply: ChatReply) -> ChatReply | Fault:
        is_answer = not reply.refusal and reply.finish_reason != "content_filter"
        if self._chat.reads_first_token and is_answer and not reply.first_token:
            return Fault(
                kind="fatal",
                reason="the server sends no log-probabilities",
                remedy=self.remedies.logprobs,
                is_spent=True,
            )
        return replace(
            reply,
            text=None if reply.text is None else self.redact(reply.text),
            refusal=self.redact(reply.refusal)[:LONGEST_REASON] if reply.refusal else None,
            first_token=reply.first_token if self._chat.reads_first_token else (),
        )


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """How many seconds a server asks to wait: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "").strip()
    try:
        seconds = float(said)
    except ValueError:
        try:
            date = parsedate_to_datetime(said)
        except ValueError:
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _classify(status: int, code: str | None) -> FaultKind:
    if code == "insufficient_quota" or status < 400 or status in (401, 402, 403, 404, 405):  # noqa: PLR2004
        return "fatal"
    if status == 429:  # noqa: PLR2004
        return "busy"
    return "passing" if status >= 500 or status in (408, 409, 425) else "lasting"  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """What an error body says; servers differ in where they say it."""

    message: str
    code: str | None

    @classmethod
    def from_body(cls, body: bytes) -> "_Problem":
        try:
            value = json.loads(body)
        except ValueError:
            return cls(message=body.decode("utf-8", "replace"), code=None)
        for name in ("error", "detail", "message"):
            if isinstance(value, dict) and name in value:
                code = value.get("code")
                value = value[name]
                if isinstance(value, dict):
                    code = value.get("code", code)
                    value = value.get("message", value)
                return cls(message=value if isinstance(value, str) else json.dumps(value), code=code)
        return cls(message=json.dumps(value), code=None)
