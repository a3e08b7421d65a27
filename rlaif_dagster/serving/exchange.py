"""Writes requests to a chat server and reads its replies, without using the network."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic_core import to_json

from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, ChatReply
from rlaif_dagster.serving.faults import (
    SEVERAL_REFUSALS,
    Fault,
    classify_problem,
    find_status,
    is_call_refused,
)
from rlaif_dagster.serving.formats import CHAT_COMPLETIONS, ChatFormat, ChatSettings
from rlaif_dagster.serving.problems import NO_PROBLEM, Problem
from rlaif_dagster.serving.replies import NO_USAGE, Usage, read_reply

SHORTEST_SECRET: Final = 8
"""A key with fewer characters, such as `EMPTY`, is a placeholder, and may be a word in a reply."""
LONGEST_REASON: Final = 300
"""How many characters of a server's own message are kept."""

_FORMS: Final = {
    "completion": "the reply is no chat completion",
    "error": "an error inside HTTP 200",
    "empty": "the reply is empty",
    "web page": "the reply is a web page",
    "text": "the reply is no chat completion",
    "broken": "the reply breaks off",
    "other": "the reply is no chat completion",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call in the form that is sent.

    Attributes:
        call_id: The call.
        body: The JSON body.
        most_input_tokens: An upper bound of its input tokens: a token has at least one byte.
        most_output_tokens: An upper bound of the tokens that the server may write.
    """

    call_id: str
    body: bytes
    most_input_tokens: int
    most_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """What a user can do about a fault.

    Attributes:
        connection: If the server cannot be reached.
        key: If it refuses the key.
        request: If it refuses the request.
        logprobs: If it returns no log-probabilities.
        budget: If the budget of this run is used up.
    """

    connection: str
    key: str
    request: str
    logprobs: str = "use a server that returns them"
    budget: str = "raise the budget"

    def find(self, status: int | None) -> str:
        """Finds the remedy for an HTTP status, or for the meaning of an error inside HTTP 200."""
        if status in (401, 403):
            return self.key
        return "pay the provider, or use another key" if status == 402 else self.request  # noqa: PLR2004


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
        """Makes an exchange.

        Args:
            chat: The settings of all calls.
            key: The key, which is sent, and removed from everything that a server returns.
            remedies: What to do about faults.
            chat_format: The form of requests and replies.
        """
        self._chat = chat
        self._format = chat_format
        self.headers = {"Content-Type": "application/json", **chat_format.write_headers(key)}
        self._secret = key if key is not None and len(key) >= SHORTEST_SECRET else None
        self.remedies = remedies

    def encode(self, call: ChatCall) -> Request:
        """Writes a call's request."""
        fields = self._format.write(call, self._chat)
        sent = {name: value for name, value in fields.items() if value is not None}
        try:
            body = to_json(sent)
        except ValueError:  # half a surrogate pair
            body = json.dumps(sent).encode()
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
            request: The request that it answers.
            status: The HTTP status.
            headers: The HTTP headers; names in lower case, or a case-insensitive mapping.
            body: The body.
            now: The time, for a `Retry-After` that is a date.
        """
        body = body if self._secret is None else body.replace(self._secret.encode(), b"[key]")
        if 200 <= status < 300:  # noqa: PLR2004
            try:
                return self._take(request, self._format.read(request.call_id, body))
            except (ValueError, LookupError, TypeError, AttributeError):
                return self._explain(request, status, headers, body, now)
        return self._explain(request, status, headers, body, now)

    def _explain(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ChatFailure | Fault:
        """Finds the meaning of a reply that is not a completion.

        With HTTP 200, a body without an error message may hold the model's words, such as "payment required". So these
        stand in the reason, and decide nothing.
        """
        reply = read_reply(body)
        is_success = status < 300  # noqa: PLR2004
        problem = reply.said if isinstance(reply.said, Problem) else NO_PROBLEM
        words = problem.words or reply.body_words
        if not is_success:
            problem = replace(problem, words=words)
        meant = find_status(status, problem)
        said = self.redact(words)[:LONGEST_REASON]
        if is_call_refused(meant, problem):
            return ChatFailure(
                call_id=request.call_id,
                kind="refused",
                reason=f"content filter: {said}",
                prompt_tokens=reply.usage.prompt_tokens,
                completion_tokens=reply.usage.completion_tokens,
            )
        kind, stops_after = classify_problem(meant, problem, json.loads(request.body))
        what = _FORMS[reply.form] if is_success else f"HTTP {status}"
        if is_success and reply.form == "error" and meant is not None:
            what += f" (code {meant})"
        return Fault(
            kind=kind,
            reason=what + (f": {said}" if said else ""),
            remedy=self.remedies.find(meant),
            wait_seconds=read_retry_after(headers, now) if kind in ("busy", "passing") else None,
            usage=reply.usage,
            is_spent=is_success and reply.form == "broken" and reply.usage == NO_USAGE,
            stops_after=stops_after,
        )

    def redact(self, text: str) -> str:
        """Removes the key from a text."""
        return text if self._secret is None else text.replace(self._secret, "[key]")

    def _take(self, request: Request, reply: ChatReply) -> ChatReply | Fault:
        usage = Usage(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        finish = reply.finish_reason
        if finish is None and (reply.completion_tokens or 0) >= request.most_output_tokens:
            finish = "length"
        if finish == "error":
            return Fault(kind="passing", reason="the server broke off its reply", usage=usage)
        is_answer = not reply.refusal and finish != "content_filter"
        if self._chat.reads_first_token and is_answer and not reply.first_token:
            return Fault(
                kind="passing",
                reason="the server sends no log-probabilities",
                remedy=self.remedies.logprobs,
                usage=usage,
                stops_after=SEVERAL_REFUSALS,
            )
        return replace(
            reply,
            text=None if reply.text is None else self.redact(reply.text),
            refusal=self.redact(reply.refusal)[:LONGEST_REASON] if reply.refusal else None,
            finish_reason=finish,
            first_token=reply.first_token if self._chat.reads_first_token else (),
        )


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Reads how many seconds a server asks to wait: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3)."""
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
