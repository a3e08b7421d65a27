"""A judge behind a chat server: writes its requests and reads its replies.

A provider for such a server is a subclass of `ServedJudgeSettings`. Its `chat_format` defines the form of requests and
replies. Everything else is here and in `rlaif_dagster.serving`: keys, attempts, limits, budgets, prices.
"""

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, field_validator, model_validator

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.calls import Call, Reply, ReplyStatus
from rlaif_dagster.judging.cutting import cut_texts
from rlaif_dagster.judging.settings import SPEED_ONLY, AskedJudgeSettings, Opening, TokenBounds, name_judge
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import HARD_PROBABILITY
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, TokenLogprob
from rlaif_dagster.serving.exchange import Exchange, Remedies
from rlaif_dagster.serving.formats import CHAT_COMPLETIONS, ChatFormat, ChatSettings
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings, LimitSettings, PriceSettings

MAX_DOUBT: Final = 0.01
"""The largest possible probability of unlisted verdict words, relative to that of the listed ones."""
NUM_DECIMALS: Final = 6
"""Decimals to which scores are rounded."""


class ServedJudgeSettings(AskedJudgeSettings):
    """The settings that all judges behind a chat server have in common."""

    chat_format: ClassVar[ChatFormat] = CHAT_COMPLETIONS
    """The form of requests and replies."""
    default_url: ClassVar[str | None] = None
    """The server's address, if neither `base_url` nor the environment has one."""
    url_variable: ClassVar[str | None] = None
    """The environment variable with the server's address, used if `base_url` is null."""

    model: str = Field(min_length=1)
    """The model's name on the server."""
    revision: str | None = Field(default=None, min_length=1)
    """Any text that names the model's version; change it when the server's model changes."""
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    """The server's address without `chat_format.path`; null uses the provider's default."""
    api_key_env: Annotated[str | None, SPEED_ONLY] = Field(default=None, min_length=1)
    """The environment variable with the key; null for a server without a key."""
    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    max_tokens: int = Field(default=1024, ge=1)
    """The longest answer, in tokens."""
    limits: Annotated[LimitSettings, SPEED_ONLY] = LimitSettings()
    price: Annotated[PriceSettings | None, SPEED_ONLY] = None

    @field_validator("base_url")
    @classmethod
    def _refuse_secrets(cls, url: str | None) -> str | None:
        if url is not None and ("@" in url or "?" in url or "#" in url):
            raise ValueError(
                "base_url is recorded, but has more than an address; remedy: remove user, password and "
                "everything after ?; the key comes from the environment variable that api_key_env names"
            )
        return url

    @model_validator(mode="after")
    def _require_price(self) -> Self:
        if self.limits.budget.cost is not None and self.price is None:
            raise ValueError(
                "limits.budget.cost is set without a price; remedy: set price, or limit calls or tokens"
            )
        return self

    @property
    def max_tokens_written(self) -> int:
        """The longest text that it writes, in tokens."""
        return self.max_tokens

    @property
    def token_price(self) -> PriceSettings | None:
        """The setting `price`."""
        return self.price

    @property
    def run_budget(self) -> BudgetSettings:
        """The budget in `limits`."""
        return self.limits.budget

    @property
    def retries_unparsed(self) -> bool:
        """The setting `retry_unparsed` in `limits`."""
        return self.limits.retry_unparsed

    def describe(self) -> dict[str, Any]:
        """Describes the fields that decide what it answers; settings of writing count only if it writes."""
        unread = ("temperature", "max_tokens") if self.reading == "logprob" else ()
        return {name: value for name, value in super().describe().items() if name not in unread}

    def describe_chat(self) -> ChatSettings:
        """Makes the settings that all requests have in common."""
        reads_logprobs = self.reading == "logprob"
        return ChatSettings(
            model=self.model,
            # The probabilities are the model's own, not sharpened by a temperature.
            temperature=1 if reads_logprobs else self.temperature,
            max_tokens=1 if reads_logprobs else self.max_tokens,
            reads_first_token=reads_logprobs,
        )

    def find_url(self, environment: Mapping[str, str]) -> str:
        """Finds the address to which requests are sent.

        Raises:
            JudgeError: If no address is set.
        """
        told = self.base_url or environment.get(self.url_variable or "") or self.default_url
        if not told:
            raise JudgeError(
                f"judge {name_judge(self)}: its server has no address.\n"
                "  remedy: set base_url in inputs/judge.yaml"
            )
        return told.rstrip("/") + self.chat_format.path

    def bound_tokens(self, template: Template) -> Callable[[Call], TokenBounds]:
        """Bounds a call's tokens by its number of words and its request's number of bytes; see `graph.fees`."""
        chat = JudgeChat(self, template, key=None)

        def bound(call: Call) -> TokenBounds:
            written, _ = chat.write_call(call)
            request = chat.exchange.encode(written)
            return TokenBounds(
                least_read=sum(len(message["content"].split()) for message in written.messages),
                most_read=request.most_input_tokens,
                most_written=request.most_output_tokens,
            )

        return bound

    def open_judge(self, opening: Opening) -> "ServedJudge":
        """Opens the judge.

        Raises:
            JudgeError: If there is no key.
        """
        return ServedJudge(self, opening.template, budget=opening.budget)


class JudgeChat:
    """Writes a judge's calls as chat requests, and reads the replies as answers."""

    def __init__(self, settings: ServedJudgeSettings, template: Template, *, key: str | None) -> None:
        """Makes the chat of a judge.

        Args:
            settings: The judge's settings.
            template: Its prompt.
            key: The key, which is removed from everything that the server returns.
        """
        self._settings = settings
        self._template = template
        self._reads_logprobs = settings.reading == "logprob"
        if template.scale is None:
            self._values = {word: HARD_PROBABILITY[name] for name, word in template.verdicts.items()}
        else:
            self._values = {word: float(word) for word in template.words}
        self.exchange = Exchange(
            settings.describe_chat(),
            key=key,
            remedies=_find_remedies(settings),
            chat_format=settings.chat_format,
        )

    def write_call(self, call: Call) -> tuple[ChatCall, bool]:
        """Renders the judge's prompt; says whether an answer in it had to be cut."""
        texts, was_cut = cut_texts(call.texts, self._settings.max_answer_chars)
        messages = self._template.render(texts)
        return ChatCall(call_id=call.call_id, messages=messages, seed=call.repeat), was_cut

    def read_outcome(self, outcome: ChatOutcome, *, was_cut: bool) -> Reply:
        """Reads the verdict, from the probabilities or from the text."""
        if isinstance(outcome, ChatFailure):
            return Reply(
                call_id=outcome.call_id,
                status=outcome.kind,
                reason=outcome.reason,
                input_tokens=outcome.prompt_tokens,
                output_tokens=outcome.completion_tokens,
                cut=was_cut,
            )
        status: ReplyStatus = "ok"
        text, score, reason = outcome.text, None, None
        if outcome.refusal:
            status, reason = "refused", outcome.refusal
        elif outcome.finish_reason == "content_filter":
            status, reason = "refused", "content filter"
        elif self._reads_logprobs:
            score = read_score(outcome.first_token, self._values)
            text = None if score is not None else self.exchange.redact(_describe_top(outcome.first_token))
        elif outcome.finish_reason == "length" and not self._is_verdict(text):
            status, reason, text = "failed", "the answer was cut off at max_tokens", text or ""
        if status == "ok" and score is None:
            text = text or ""
        return Reply(
            call_id=outcome.call_id,
            status=status,
            text=text,
            score=score,
            reason=reason,
            input_tokens=outcome.prompt_tokens,
            output_tokens=outcome.completion_tokens,
            cut=was_cut,
        )

    def _is_verdict(self, text: str | None) -> bool:
        """Whether a text that was cut off is a verdict and cannot be the beginning of another one."""
        begun = [word for word in self._template.words if word.startswith((text or "").strip())]
        return self._template.verdict_line is None and begun == [(text or "").strip()]


class ServedJudge:
    """A `Judge` that is asked over HTTP."""

    def __init__(
        self,
        settings: ServedJudgeSettings,
        template: Template,
        *,
        budget: Budget | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Makes the judge.

        Args:
            settings: The judge's settings.
            template: Its prompt.
            budget: What may be spent, shared over passes and judges; None for a separate budget in each pass.
            environment: Has the key, and possibly the server's address.

        Raises:
            JudgeError: If there is no key, or no address.
        """
        self._settings = settings
        self._budget = budget
        key = read_key(settings.api_key_env, environment, judge=name_judge(settings))
        self._chat = JudgeChat(settings, template, key=key)
        self._url = settings.find_url(environment)

    def ask(self, calls: Iterable[Call]) -> Generator[list[Reply], None, None]:
        """Yields one answer for each call, in groups, as soon as they are known.

        Raises:
            JudgeError: If no call can be answered, or the budget is used up.
        """
        from rlaif_dagster.serving.client import Client
        from rlaif_dagster.serving.engine import Engine

        cut_ids: set[str] = set()  # of the calls in progress

        def write_calls() -> Iterator[ChatCall]:
            for call in calls:
                written, was_cut = self._chat.write_call(call)
                if was_cut:
                    cut_ids.add(call.call_id)
                yield written

        limits = self._settings.limits
        engine = Engine(
            Client(self._url, self._chat.exchange),
            self._chat.exchange,
            who=f"judge {name_judge(self._settings)}",
            limits=limits,
            price=self._settings.price,
            budget=self._budget or Budget(limits.budget),
        )
        for outcomes in engine.ask(write_calls()):
            yield [
                self._chat.read_outcome(outcome, was_cut=outcome.call_id in cut_ids) for outcome in outcomes
            ]
            cut_ids.difference_update(outcome.call_id for outcome in outcomes)


def read_key(variable: str | None, environment: Mapping[str, str], *, judge: str) -> str | None:
    """Reads the key from an environment variable; None if no variable is named.

    Raises:
        JudgeError: If it is not set, or cannot be sent.
    """
    if variable is None:
        return None
    key = environment.get(variable, "").strip()
    if not key:
        raise JudgeError(
            f"judge {judge}: the environment variable {variable} is not set; it should have the server's key.\n"
            f"  remedy: set it, or change api_key_env in inputs/judge.yaml (null for a server without a key)"
        )
    if not (key.isascii() and key.isprintable()):
        raise JudgeError(
            f"judge {judge}: the key in {variable} has characters that no key has.\n  remedy: set it again"
        )
    return key


def read_score(top: Sequence[TokenLogprob], values: Mapping[str, float]) -> float | None:
    """Computes the expected value of the verdict words under their next-token probabilities.

    The probabilities of the verdict words among the listed tokens, ignoring white space around a token, are normalised
    to the sum of 1. An unlisted word has at most the probability of the least likely listed token; it counts as 0. If
    the unlisted words could together have more than `MAX_DOUBT` of the probability of the listed ones, or if no word is
    listed, there is no value.

    Args:
        top: The most likely next tokens.
        values: The value of each verdict word.

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


def _describe_top(top: Sequence[TokenLogprob]) -> str:
    likeliest = sorted(top, key=lambda token: -token.logprob)[:5]
    return "next token: " + ", ".join(f"{token.token!r} {math.exp(token.logprob):.3g}" for token in likeliest)


def _find_remedies(settings: ServedJudgeSettings) -> Remedies:
    variable = settings.api_key_env
    elsewhere = f" (or {settings.url_variable})" if settings.url_variable else ""
    return Remedies(
        connection=f"check that the server runs, and check base_url in inputs/judge.yaml{elsewhere}",
        key=f"check the key in {variable}" if variable else "set api_key_env in inputs/judge.yaml",
        request="check model, base_url and extra_body in inputs/judge.yaml, and read the server's message",
        logprobs="set verdict to text in inputs/judge.yaml, or use a server that returns them",
        budget="raise limits.budget in inputs/judge.yaml",
    )
