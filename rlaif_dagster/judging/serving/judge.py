"""A judge behind an OpenAI-compatible server."""

import os
from collections.abc import Generator, Iterable, Mapping

from rlaif_dagster.judging.calls import Answer, Call
from rlaif_dagster.judging.serving.client import Client, find_url, read_key
from rlaif_dagster.judging.serving.engine import Engine
from rlaif_dagster.judging.serving.exchange import JudgeExchange
from rlaif_dagster.judging.serving.limits import Budget
from rlaif_dagster.judging.settings import NO_IDENTITY, OpenAIJudgeSettings, name_judge
from rlaif_dagster.judging.templates import Template


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
        """Takes who is asked.

        Args:
            settings: Who the judge is.
            template: Its prompt.
            served_by: Where its key is, how fast it may be asked, and at what price; None for `settings`.
            budget: What may be spent, over all passes and with other judges; None for one of its own in each pass.
            environment: Holds the key, and perhaps the server's address.

        Raises:
            JudgeError: If there is no key.
        """
        today = served_by or settings
        settings = settings.model_copy(update={name: getattr(today, name) for name in NO_IDENTITY})
        self._settings = settings
        self._budget = budget
        key = read_key(settings.api_key_env, environment, judge=name_judge(settings))
        self._exchange = JudgeExchange(settings, template, key=key)
        self._client = Client(
            find_url(settings.base_url, environment),
            self._exchange,
            key=key,
            timeout_seconds=settings.limits.timeout_seconds,
        )

    def ask(self, calls: Iterable[Call]) -> Generator[list[Answer], None, None]:
        """Yields one answer for each call, as soon as they are known; those known by then together.

        Raises:
            JudgeError: If no call can be answered, or no more may be spent.
        """
        engine = Engine(
            self._client,
            self._exchange,
            who=f"judge {name_judge(self._settings)}",
            limits=self._settings.limits,
            price=self._settings.price,
            budget=self._budget or Budget(self._settings.limits.budget),
        )
        return engine.ask(calls)
