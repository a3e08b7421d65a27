"""What a chat completions server is asked, and what its replies mean; nothing here touches the network."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from rlaif_dagster.judging.calls import Answer, AnswerStatus, Call
from rlaif_dagster.judging.cutting import cut_texts
from rlaif_dagster.judging.settings import OpenAIJudgeSettings
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import HARD_PROBABILITY

TOP_LOGPROBS: Final = 20
"""The likeliest next tokens that are asked for; servers give no more."""
MAX_DOUBT: Final = 0.01
"""Most probability, relative to that of the verdict words listed, that those not listed could have."""
NUM_DECIMALS: Final = 6
"""Scores are rounded to this."""
SHORTEST_SECRET: Final = 8
"""A key of fewer characters, such as `EMPTY`, is a placeholder, and may be a word of the judge's."""
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
        cut: Whether an answer shown had to be cut.
        most_input_tokens: No fewer than it has: a token is a byte at least.
        most_output_tokens: No fewer than the server may write.
    """

    call_id: str
    body: bytes
    cut: bool
    most_input_tokens: int
    most_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """What a person does about a fault: of the key, of what is asked."""

    key: str
    request: str

    def find(self, status: int) -> str:
        """The remedy for an HTTP status."""
        if status in (401, 403):
            return self.key
        return "pay, or use another key" if status == 402 else self.request  # noqa: PLR2004


class Exchange(ABC):
    """Puts calls into requests, and replies into answers or faults."""

    def __init__(self, *, key: str | None, remedies: "Remedies") -> None:
        """Takes what is asked of any server.

        Args:
            key: The key, which is taken out of everything that a server says.
            remedies: What to do about faults.
        """
        self._secret = key if key is not None and len(key) >= SHORTEST_SECRET else None
        self._remedies = remedies

    @abstractmethod
    def encode(self, call: Call) -> Request:
        """Writes a call's request."""

    @abstractmethod
    def interpret(self, request: Request, reply: "Reply") -> Answer | Fault:
        """Says what a chat completion answers."""

    def read(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> Answer | Fault:
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
                reply = Reply.model_validate_json(body)
            except ValidationError:
                return Fault(kind="passing", reason="the reply is not a chat completion", is_spent=True)
            return self.interpret(request, reply)
        problem = _Problem.from_body(body)
        said = self.redact(" ".join(problem.message.split()))[:LONGEST_REASON]
        if problem.code == "content_filter":
            return Answer(
                call_id=request.call_id, status="refused", reason=f"content filter: {said}", cut=request.cut
            )
        kind = _classify(status, problem.code)
        return Fault(
            kind=kind,
            reason=f"HTTP {status}" + (f": {said}" if said else ""),
            remedy=self._remedies.find(status),
            wait_seconds=read_retry_after(headers, now) if kind in ("busy", "passing") else None,
        )

    def redact(self, text: str) -> str:
        """Takes the key out of a text."""
        return text if self._secret is None else text.replace(self._secret, "[key]")


class JudgeExchange(Exchange):
    """What a judge is asked, and how its replies are verdicts."""

    def __init__(self, settings: OpenAIJudgeSettings, template: Template, *, key: str | None) -> None:
        """Takes who is asked, and how.

        Args:
            settings: The judge's settings.
            template: Its prompt.
            key: The key, which is taken out of everything that a server says.
        """
        variable = settings.api_key_env
        super().__init__(
            key=key,
            remedies=Remedies(
                key=f"check the key in {variable}" if variable else "set api_key_env in inputs/judge.yaml",
                request="check model, base_url and extra_body in inputs/judge.yaml, and see what the server says",
            ),
        )
        self._settings = settings
        self._template = template
        self._reads_logprobs = settings.verdict == "logprob"
        if template.scale is None:
            self._values = {word: HARD_PROBABILITY[name] for name, word in template.verdicts.items()}
        else:
            self._values = {word: float(word) for word in template.words}

    def encode(self, call: Call) -> Request:
        """Writes a call's request."""
        texts, cut = cut_texts(call.texts, self._settings.max_answer_chars)
        most, temperature = self._settings.max_tokens, self._settings.temperature
        probabilities: dict[str, int] = {}
        if self._reads_logprobs:  # of the model itself: not made sharper by a temperature
            most, temperature = 1, 1
            probabilities = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        fields = {
            "model": self._settings.model,
            "messages": self._template.render(texts),
            "temperature": temperature,
            self._settings.max_tokens_name: most,
            **probabilities,
            "seed": call.repeat,
            **self._settings.extra_body,
        }
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
        return Request(
            call_id=call.call_id,
            body=body,
            cut=cut,
            most_input_tokens=len(body),
            most_output_tokens=most,
        )

    def interpret(self, request: Request, reply: "Reply") -> Answer | Fault:
        """Reads the verdict, from the probabilities or from the text."""
        choice = reply.choices[0]
        text = None if choice.message.content is None else self.redact(choice.message.content)
        status: AnswerStatus = "ok"
        score, reason = None, None
        if choice.message.refusal:
            status, reason = "refused", self.redact(choice.message.refusal)[:LONGEST_REASON]
        elif choice.finish_reason == "content_filter":
            status, reason = "refused", "content filter"
        elif self._reads_logprobs:
            top = choice.list_top()
            if not top:
                return Fault(
                    kind="fatal",
                    reason="the server sends no log-probabilities",
                    remedy="set verdict to text in inputs/judge.yaml, or use a server that gives them",
                    is_spent=True,
                )
            score = read_score(top, self._values)
            text = None if score is not None else self.redact(_describe_top(top))
        elif choice.finish_reason == "length" and not self._is_verdict(text):
            status, reason = "failed", "the answer was cut off at max_tokens"
        if status == "ok" and score is None:
            text = text or ""
        usage = reply.usage
        return Answer(
            call_id=request.call_id,
            status=status,
            text=text,
            score=score,
            reason=reason,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cut=request.cut,
        )

    def _is_verdict(self, text: str | None) -> bool:
        """Whether a text that was cut off is a verdict, and cannot be the beginning of another."""
        begun = [word for word in self._template.words if word.startswith((text or "").strip())]
        return self._template.verdict_line is None and begun == [(text or "").strip()]


def read_score(top: Sequence["TopToken"], values: Mapping[str, float]) -> float | None:
    """The expected value of the verdict words under their next-token probabilities.

    The probabilities of the words among the tokens listed, white space around a token put aside, are brought to the
    sum of 1. A word that is not listed has at most the probability of the least likely token listed; it counts as 0.
    Where the words not listed could together have more than `MAX_DOUBT` of the probability of those that are, or no
    word is listed, nothing can be said.

    Args:
        top: The likeliest next tokens.
        values: What each verdict word stands for.

    Returns:
        The value, or None.
    """
    weights = dict.fromkeys(values, 0.0)
    listed = set()
    for token in top:
        word = token.token.strip()
        if word in weights:
            weights[word] += math.exp(token.logprob)
            listed.add(word)
    total = sum(weights.values())
    doubt = (len(values) - len(listed)) * math.exp(min(token.logprob for token in top))
    if total == 0.0 or doubt > MAX_DOUBT * total:
        return None
    return round(sum(values[word] * weight for word, weight in weights.items()) / total, NUM_DECIMALS)


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


def _describe_top(top: Sequence["TopToken"]) -> str:
    likeliest = sorted(top, key=lambda token: -token.logprob)[:5]
    return "next token: " + ", ".join(f"{token.token!r} {math.exp(token.logprob):.3g}" for token in likeliest)


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


class TopToken(BaseModel):
    """One of the likeliest next tokens."""

    token: str
    logprob: Annotated[float, Field(le=1.0)]
    """Natural logarithm; a little above 0 by rounding at worst."""


class _Token(BaseModel):
    top_logprobs: list[TopToken] = []


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    def list_top(self) -> list[TopToken]:
        """The likeliest first tokens; none where the server does not say."""
        tokens = (self.logprobs.content if self.logprobs else None) or []
        return tokens[0].top_logprobs if tokens else []


class _Usage(BaseModel):
    prompt_tokens: Annotated[int, Field(ge=0)] | None = None
    completion_tokens: Annotated[int, Field(ge=0)] | None = None


class Reply(BaseModel):
    """A chat completion."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage = _Usage()

    @field_validator("usage", mode="before")
    @classmethod
    def _take_null(cls, usage: object) -> object:
        return {} if usage is None else usage
