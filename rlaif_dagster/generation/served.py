"""Samples through a policy's own server, with the same engine that asks judges."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import ModelError
from rlaif_dagster.generation.dialogues import Completion
from rlaif_dagster.generation.server import serve_policy
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatReply
from rlaif_dagster.serving.client import Client
from rlaif_dagster.serving.engine import Engine
from rlaif_dagster.serving.exchange import ChatSettings, Exchange, Remedies, find_url
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings, LimitSettings

READY_SECONDS: Final = 1800.0
"""A large policy takes long to load."""
TIMEOUT_SECONDS: Final = 1800.0
"""For one response, including waiting in the server's queue."""
_SEED_BITS: Final = 31
"""The parameters that every server accepts."""
_REMEDY: Final = "read the server's message, and check sampling in inputs/pipeline.yaml"


def make_exchange(model: str, settings: LocalSamplingSettings) -> Exchange:
    """Makes the requests to a policy's server, from the policy's name on the server and the sampling settings."""
    return Exchange(
        ChatSettings(
            model=model,
            temperature=settings.temperature,
            max_tokens=settings.max_new_tokens,
            extra={"top_p": settings.top_p},
        ),
        key=None,
        remedies=Remedies(connection=_REMEDY, key=_REMEDY, request=_REMEDY),
    )


def complete_by_server(
    folder: Path,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    settings: LocalSamplingSettings,
    concurrency: int,
) -> Iterator[Mapping[int, Completion]]:
    """Starts a policy's server and answers each prompt once, with its own seed.

    Args:
        folder: The policy's folder.
        prompts: The users' texts.
        seeds: One a prompt.
        settings: The server's command; temperature, top-p and the largest number of new tokens.
        concurrency: The most requests in flight.

    Yields:
        A completion by the index of its prompt, as it arrives.

    Raises:
        ModelError: If the server does not start, or does not return a response.
        JudgeError: If the server cannot be asked at all.
    """
    if settings.server_command is None:
        raise TypeError("the settings have no server_command")
    calls = (
        ChatCall(
            call_id=str(place), messages=[{"role": "user", "content": prompt}], seed=seed % 2**_SEED_BITS
        )
        for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
    )
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve_policy(
            settings.server_command, folder, log=Path(scratch) / "server.log", ready_seconds=READY_SECONDS
        ) as url,
    ):
        exchange = make_exchange(str(folder), settings)
        engine = Engine(
            Client(find_url(url, {}), exchange, key=None, timeout_seconds=TIMEOUT_SECONDS),
            exchange,
            who="the policy's server",
            limits=LimitSettings(concurrency=min(concurrency, 4096), timeout_seconds=TIMEOUT_SECONDS),
            price=None,
            budget=Budget(BudgetSettings()),
        )
        for outcomes in engine.ask(calls):
            yield {
                int(outcome.call_id): _take_reply(outcome)
                for outcome in outcomes
                if isinstance(outcome, ChatReply)
            }
            for outcome in outcomes:
                if isinstance(outcome, ChatFailure):
                    raise ModelError(
                        f"the policy's server gave no response to {prompts[int(outcome.call_id)][:60]!r}: "
                        f"{outcome.reason}.\n  remedy: {_REMEDY}; then run again: sampled responses are kept"
                    )


def _take_reply(reply: ChatReply) -> Completion:
    return Completion(
        text=reply.text or "",
        num_tokens=reply.completion_tokens,
        finish_reason="length" if reply.finish_reason == "length" else "stop",
    )
