"""Writes requests to a chat completions server and reads its replies, without using the network."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, ChatReply, TokenLogprob

TOP_LOGPROBS: Final = 20
"""How many of the most likely next tokens are requested; servers return no more."""
SHORTEST_SECRET: Final = 8
"""A key with fewer characters, such as `EMPTY`, is a placeholder, and may be a word in a reply."""
LONGEST_REASON: Final = 300
"""How many characters of a server's own message are kept."""

DEFAULT_URL: Final = "https://api.openai.com/v1"
URL_VARIABLE: Final = "OPENAI_BASE_URL"


FaultKind = Literal["silent", "busy", "passing", "lasting", "fatal"]
"""`silent`: no reply, temporary; `busy`: too many requests, temporary; `passing`: another temporary fault; `lasting`:
this call cannot succeed; `fatal`: no call can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an attempt gave no answer.

    Attributes:
        kind: The kind of fault, which decides what happens next.
        reason: The reason, for people; without keys.
        remedy: What to do if it persists.
        wait_seconds: How long the server asks to wait, if it does.
        is_spent: Whether the attempt may have been billed.
    """

    kind: FaultKind
    reason: str
    remedy: str = "read the server's message"
    wait_seconds: float | None = None
    is_spent: bool = False


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
class ChatSettings:
    """The settings that all calls of an exchange have in common.

    Attributes:
        model: The model's name on the server.
        temperature: Divides the logits; 0 takes the most likely token.
        max_tokens: The longest reply, in tokens.
        max_tokens_name: The server's name for `max_tokens`.
        reads_first_token: If True, the log-probabilities of the first token are requested, and a server that returns
            none cannot be used.
        extra: Further fields of a request, which replace those above; a None field is not sent.
    """

    model: str
    temperature: float
    max_tokens: int
    max_tokens_name: str = "max_tokens"
    reads_first_token: bool = False
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


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

    def find(self, status: int) -> str:
        """Finds the remedy for an HTTP status."""
        if status in (401, 403):
            return self.key
        return "pay the provider, or use another key" if status == 402 else self.request  # noqa: PLR2004


class Exchange:
    """Writes calls as requests, and reads replies."""

    def __init__(self, chat: ChatSettings, *, key: str | None, remedies: Remedies) -> None:
        """Makes an exchange.

        Args:
            chat: The settings of all calls.
            key: The key, which is removed from everything that a server returns.
            remedies: What to do about faults.
        """
        self._chat = chat
        self._secret = key if key is not None and len(key) >= SHORTEST_SECRET else None
        self.remedies = remedies

    def encode(self, call: ChatCall) -> Request:
        """Writes a call's request."""
        chat = self._chat
        fields = {
            "model": chat.model,
            "messages": [dict(message) for message in call.messages],
            "temperature": chat.temperature,
            chat.max_tokens_name: chat.max_tokens,
            **({"logprobs": True, "top_logprobs": TOP_LOGPROBS} if chat.reads_first_token else {}),
            "seed": call.seed,
            **chat.extra,
        }
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
        return Request(
            call_id=call.call_id,
            body=body,
            most_input_tokens=len(body),
            most_output_tokens=chat.max_tokens,
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
        if status == 200:  # noqa: PLR2004
            try:
                completion = _Completion.model_validate_json(body)
            except ValidationError:
                return Fault(kind="passing", reason="the reply is not a chat completion", is_spent=True)
            return self._take(request, completion)
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

    def _take(self, request: Request, completion: "_Completion") -> ChatReply | Fault:
        choice = completion.choices[0]
        text, refusal = choice.message.content, choice.message.refusal
        is_answer = not refusal and choice.finish_reason != "content_filter"
        first_token = choice.list_top() if self._chat.reads_first_token else ()
        if self._chat.reads_first_token and is_answer and not first_token:
            return Fault(
                kind="fatal",
                reason="the server sends no log-probabilities",
                remedy=self.remedies.logprobs,
                is_spent=True,
            )
        return ChatReply(
            call_id=request.call_id,
            text=None if text is None else self.redact(text),
            refusal=self.redact(refusal)[:LONGEST_REASON] if refusal else None,
            finish_reason=choice.finish_reason,
            first_token=first_token,
            prompt_tokens=completion.usage.prompt_tokens,
            completion_tokens=completion.usage.completion_tokens,
        )


def find_url(base_url: str | None, environment: Mapping[str, str]) -> str:
    """Finds the address of chat completions: of the server in the settings, else in the environment, else OpenAI's."""
    return (base_url or environment.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/") + "/chat/completions"


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


def _classify(status: int, code: str | None) -> FaultKind:
    if code == "insufficient_quota" or status < 400 or status in (401, 402, 403, 404, 405):  # noqa: PLR2004
        return "fatal"
    if status == 429:  # noqa: PLR2004
        return "busy"
    return "passing" if status >= 500 or status in (408, 409, 425) else "lasting"  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """The message of an error body; servers put it in different places."""

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
        """Lists the most likely first tokens; none if the server does not return them."""
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
