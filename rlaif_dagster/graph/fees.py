"""Bounds the tokens and fees of calls to judges with a price, before any call and without tokenizers.

A byte-level tokenizer that first splits text into words, as those of GPT, Llama and Qwen do, makes at least one token
of each word, and at most one of each byte. So a call reads at least as many tokens as its messages have words, and at
most as many as its request has bytes. It writes at least one token, and at most what the settings allow. Both bounds
hold for calls that succeed at the first attempt: what failed attempts cost comes on top.
"""

import json
from collections.abc import Iterable
from typing import Final

from rlaif_dagster.graph.price import Range
from rlaif_dagster.inputs.project_inputs import JudgeSource
from rlaif_dagster.judging.calls import Call
from rlaif_dagster.judging.cutting import ANSWERS
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.templates import VARIABLES, neutralise

UsageRanges = tuple[Range, Range]
"""A range of tokens and a range of fees."""

NO_USAGE_RANGES: Final[UsageRanges] = (Range(), Range())


def add_usages(usages: Iterable[UsageRanges]) -> UsageRanges:
    """Adds usages."""
    tokens, cost = NO_USAGE_RANGES
    for more_tokens, more_cost in usages:
        tokens, cost = tokens + more_tokens, cost + more_cost
    return tokens, cost


class FeeMeter:
    """Bounds what calls use; the tokens of judges that cost no fees are not counted."""

    def __init__(self, judges: Iterable[JudgeSource]) -> None:
        """Makes a meter for judges with their current prices."""
        self._bounds = {}
        self._currencies = set[str]()
        self._is_known = True
        for source in judges:
            settings = source.settings
            price, bound = settings.token_price, settings.bound_tokens(source.template)
            if price is not None and bound is not None:
                profile = JudgeProfile.from_settings(settings, source.template, model=None)
                self._bounds[profile.name] = (profile, bound, price)
                self._currencies.add(price.currency)
            elif not settings.is_free:
                self._is_known = False

    @property
    def tells(self) -> bool:
        """Whether there are fees, all known and in one currency."""
        return self._is_known and self.currency is not None

    @property
    def currency(self) -> str | None:
        """The currency of the fees; None if there are none, or several currencies."""
        return next(iter(self._currencies)) if len(self._currencies) == 1 else None

    def bound(self, judge: str, call: Call) -> UsageRanges:
        """Bounds what one call uses."""
        if judge not in self._bounds:
            return NO_USAGE_RANGES
        _, bound, price = self._bounds[judge]
        bounds = bound(call)
        return (
            Range(min=bounds.least_read + 1, max=bounds.most_read + bounds.most_written),
            Range(
                min=price.find_cost(bounds.least_read, 1),
                max=price.find_cost(bounds.most_read, bounds.most_written),
            ),
        )

    def bound_any(
        self, *, rules: Iterable[str], prompts: Iterable[str], answers: Iterable[str]
    ) -> UsageRanges:
        """Bounds what one call uses, by any of the judges, about any of these texts."""
        longest = {"principle": find_longest(rules), "prompt": find_longest(prompts)}
        answer = find_longest(answers)
        usages = []
        for name, (profile, _, _) in self._bounds.items():
            texts = {
                variable: answer if variable in ANSWERS else longest[variable]
                for variable in VARIABLES[profile.template.form]
            }
            usages.append(self.bound(name, Call.from_texts(profile.fingerprint, texts)))
        return (
            Range(max=max(tokens.max or 0 for tokens, _ in usages)),
            Range(max=max(cost.max or 0 for _, cost in usages)),
        )


def find_longest(texts: Iterable[str]) -> str:
    """Finds the text with the most bytes in a request."""
    return max(texts, key=lambda text: len(json.dumps(neutralise(text))), default="")
