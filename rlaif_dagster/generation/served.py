"""Samples through a policy's own server, with the same engine that asks judges."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import JudgeError, ModelError
from rlaif_dagster.generation.dialogues import Completion
from rlaif_dagster.generation.server import serve_policy
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, FailureKind
from rlaif_dagster.serving.client import Client
from rlaif_dagster.serving.engine import Engine
from rlaif_dagster.serving.exchange import Exchange, Remedies
from rlaif_dagster.serving.formats import CHAT_COMPLETIONS, ChatSettings
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings, LimitSettings

READY_SECONDS: Final = 1800.0
"""A large policy takes long to load."""
TIMEOUT_SECONDS: Final = 1800.0
"""For one response, including waiting in the server's queue."""
_SEED_BITS: Final = 31
"""The size of a seed that every server accepts."""
_REMEDY: Final = "read the server's message, and check sampling in inputs/pipeline.yaml"


def make_exchange(model: str, settings: PolicySampling) -> Exchange:
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
    command: Sequence[str],
    folder: Path,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    settings: PolicySampling,
    concurrency: int,
) -> Iterator[Mapping[int, Completion | ChatFailure]]:
    """Starts a policy's server and answers each prompt once, with its own seed.

    Args:
        command: The command that serves the folder; see `generation.server`.
        folder: The policy's folder.
        prompts: The users' texts.
        seeds: One per prompt.
        settings: Temperature, top-p and the largest number of new tokens.
        concurrency: The most requests in flight.

    Yields:
        A completion by the index of its prompt, as it arrives, or why there is none.

    Raises:
        ModelError: If the server does not start, or answers no request.
    """
    calls = (
        ChatCall(
            call_id=str(place), messages=[{"role": "user", "content": prompt}], seed=seed % 2**_SEED_BITS
        )
        for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
    )
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve_policy(command, folder, log=Path(scratch) / "server.log", ready_seconds=READY_SECONDS) as url,
    ):
        exchange = make_exchange(str(folder), settings)
        engine = Engine(
            Client(url + CHAT_COMPLETIONS.path, exchange),
            exchange,
            who="the policy's server",
            limits=LimitSettings(concurrency=min(concurrency, 4096), timeout_seconds=TIMEOUT_SECONDS),
            price=None,
            budget=Budget(BudgetSettings()),
        )
        try:
            for outcomes in engine.ask(calls):
                yield {int(outcome.call_id): read_completion(outcome) for outcome in outcomes}
        except JudgeError as error:  # the engine's word for a server that answers no request
            raise ModelError(str(error)) from error


def read_completion(outcome: ChatOutcome) -> Completion | ChatFailure:
    """Reads a policy's answer: complete, or cut at the limit. Any other reply is a failure.

    An empty answer counts only if the server says that the policy ended it.
    """
    if isinstance(outcome, ChatFailure):
        return outcome
    kind: FailureKind = "failed"
    if outcome.refusal or outcome.finish_reason == "content_filter":
        kind, problem = "refused", outcome.refusal or "content filter"
    elif outcome.text is None:
        problem = "the reply has no text"
    elif outcome.finish_reason not in ("stop", "length", None):
        problem = f"the reply ended with {outcome.finish_reason}"
    elif not outcome.text and outcome.finish_reason != "stop":
        problem = "the reply is empty, and does not say that it ended"
    else:
        return Completion(
            text=outcome.text,
            num_tokens=outcome.completion_tokens,
            finish_reason="length" if outcome.finish_reason == "length" else "stop",
        )
    return ChatFailure(call_id=outcome.call_id, kind=kind, reason=problem)
