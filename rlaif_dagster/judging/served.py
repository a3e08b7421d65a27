"""A judge behind an OpenAI-compatible server: writes its requests and reads its replies."""

import math
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Final

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.calls import Answer, AnswerStatus, Call
from rlaif_dagster.judging.cutting import cut_texts
from rlaif_dagster.judging.settings import NO_IDENTITY, OpenAIJudgeSettings, name_judge
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import HARD_PROBABILITY
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, TokenLogprob
from rlaif_dagster.serving.exchange import URL_VARIABLE, ChatSettings, Exchange, Remedies, find_url
from rlaif_dagster.serving.limits import Budget

MAX_DOUBT: Final = 0.01
"""The largest possible probability of unlisted verdict words, relative to that of the listed ones."""
NUM_DECIMALS: Final = 6
"""Decimals to which scores are rounded."""


class JudgeChat:
    """Writes a judge's calls as chat requests, and reads the replies as answers."""

    def __init__(self, settings: OpenAIJudgeSettings, template: Template, *, key: str | None) -> None:
        """Makes the chat of a judge.

        Args:
            settings: The judge's settings.
            template: Its prompt.
            key: The key, which is removed from everything that the server returns.
        """
        self._settings = settings
        self._template = template
        self._reads_logprobs = settings.verdict == "logprob"
        if template.scale is None:
            self._values = {word: HARD_PROBABILITY[name] for name, word in template.verdicts.items()}
        else:
            self._values = {word: float(word) for word in template.words}
        self.exchange = Exchange(
            ChatSettings(
                model=settings.model,
                # The probabilities are the model's own, not sharpened by a temperature.
                temperature=1 if self._reads_logprobs else settings.temperature,
                max_tokens=1 if self._reads_logprobs else settings.max_tokens,
                max_tokens_name=settings.max_tokens_name,
                reads_first_token=self._reads_logprobs,
                extra=settings.extra_body,
            ),
            key=key,
            remedies=_find_remedies(settings),
        )

    def write_call(self, call: Call) -> tuple[ChatCall, bool]:
        """Renders the judge's prompt; says whether an answer in it had to be cut."""
        texts, was_cut = cut_texts(call.texts, self._settings.max_answer_chars)
        messages = self._template.render(texts)
        return ChatCall(call_id=call.call_id, messages=messages, seed=call.repeat), was_cut

    def read_outcome(self, outcome: ChatOutcome, *, was_cut: bool) -> Answer:
        """Reads the verdict, from the probabilities or from the text."""
        if isinstance(outcome, ChatFailure):
            return Answer(call_id=outcome.call_id, status=outcome.kind, reason=outcome.reason, cut=was_cut)
        status: AnswerStatus = "ok"
        text, score, reason = outcome.text, None, None
        if outcome.refusal:
            status, reason = "refused", outcome.refusal
        elif outcome.finish_reason == "content_filter":
            status, reason = "refused", "content filter"
        elif self._reads_logprobs:
            score = read_score(outcome.first_token, self._values)
            text = None if score is not None else self.exchange.redact(_describe_top(outcome.first_token))
        elif outcome.finish_reason == "length" and not self._is_verdict(text):
            status, reason = "failed", "the answer was cut off at max_tokens"
        if status == "ok" and score is None:
            text = text or ""
        return Answer(
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
        settings: OpenAIJudgeSettings,
        template: Template,
        *,
        served_by: OpenAIJudgeSettings | None = None,
        budget: Budget | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Makes the judge.

        Args:
            settings: The judge's settings.
            template: Its prompt.
            served_by: The settings with its key, limits and price; None for `settings`.
            budget: What may be spent, shared over passes and judges; None for a separate budget in each pass.
            environment: Has the key, and possibly the server's address.

        Raises:
            JudgeError: If there is no key.
        """
        today = served_by or settings
        settings = settings.model_copy(update={name: getattr(today, name) for name in NO_IDENTITY})
        self._settings = settings
        self._budget = budget
        key = read_key(settings.api_key_env, environment, judge=name_judge(settings))
        self._chat = JudgeChat(settings, template, key=key)
        self._key = key
        self._url = find_url(settings.base_url, environment)

    def ask(self, calls: Iterable[Call]) -> Generator[list[Answer], None, None]:
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
            Client(self._url, self._chat.exchange, key=self._key, timeout_seconds=limits.timeout_seconds),
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


def _find_remedies(settings: OpenAIJudgeSettings) -> Remedies:
    variable = settings.api_key_env
    return Remedies(
        connection=f"check that the server runs, and check base_url in inputs/judge.yaml (or {URL_VARIABLE})",
        key=f"check the key in {variable}" if variable else "set api_key_env in inputs/judge.yaml",
        request="check model, base_url and extra_body in inputs/judge.yaml, and read the server's message",
        logprobs="set verdict to text in inputs/judge.yaml, or use a server that returns them",
        budget="raise limits.budget in inputs/judge.yaml",
    )
