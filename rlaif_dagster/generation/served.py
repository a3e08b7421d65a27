"""Sampling through a policy's own server, by the engine that asks judges."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import ModelError
from rlaif_dagster.generation.sampling import Completion
from rlaif_dagster.generation.server import serve_policy
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.judging.calls import Answer, Call
from rlaif_dagster.judging.serving.client import Client, find_url
from rlaif_dagster.judging.serving.engine import Engine
from rlaif_dagster.judging.serving.exchange import Exchange, Fault, Remedies, Reply, Request
from rlaif_dagster.judging.serving.limits import Budget
from rlaif_dagster.judging.settings import BudgetSettings, LimitSettings

READY_SECONDS: Final = 1800.0
"""A large policy takes its time to be read."""
TIMEOUT_SECONDS: Final = 1800.0
"""Of one response, waiting in the server's queue counted."""
_SEED_BITS: Final = 31
"""What every server takes."""
_REMEDY: Final = "see what the server said, and check sampling in inputs/pipeline.yaml"


class SamplingExchange(Exchange):
    """Asks for one response a request, with its own seed."""

    def __init__(self, model: str, settings: LocalSamplingSettings) -> None:
        """Takes the policy's name at its server, and how to sample."""
        super().__init__(key=None, remedies=Remedies(key=_REMEDY, request=_REMEDY))
        self._model = model
        self._settings = settings

    def encode(self, call: Call) -> Request:
        """Writes the request of a response; a call's `repeat` is its seed."""
        body = json.dumps(
            {
                "model": self._model,
                "messages": [{"role": "user", "content": call.texts["prompt"]}],
                "temperature": self._settings.temperature,
                "top_p": self._settings.top_p,
                "max_tokens": self._settings.max_new_tokens,
                "seed": call.repeat % 2**_SEED_BITS,
            }
        ).encode()
        return Request(
            call_id=call.call_id,
            body=body,
            cut=False,
            most_input_tokens=len(body),
            most_output_tokens=self._settings.max_new_tokens,
        )

    def interpret(self, request: Request, reply: Reply) -> Answer | Fault:
        """Takes the text; `cut` says that it ended at `max_new_tokens`."""
        choice = reply.choices[0]
        return Answer(
            call_id=request.call_id,
            status="ok",
            text=choice.message.content or "",
            input_tokens=reply.usage.prompt_tokens,
            output_tokens=reply.usage.completion_tokens,
            cut=choice.finish_reason == "length",
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
        concurrency: Most requests under way.

    Yields:
        A completion by the place of its prompt, as it comes.

    Raises:
        ModelError: If the server does not come up, or a response cannot be had from it.
        JudgeError: If the server cannot be asked at all.
    """
    if settings.server_command is None:
        raise TypeError("the settings name no server")
    calls = (
        Call(call_id=str(place), texts={"prompt": prompt}, repeat=seed)
        for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
    )
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve_policy(
            settings.server_command, folder, log=Path(scratch) / "server.log", ready_seconds=READY_SECONDS
        ) as url,
    ):
        exchange = SamplingExchange(str(folder), settings)
        engine = Engine(
            Client(find_url(url, {}), exchange, key=None, timeout_seconds=TIMEOUT_SECONDS),
            exchange,
            who="the policy's server",
            limits=LimitSettings(concurrency=min(concurrency, 4096), timeout_seconds=TIMEOUT_SECONDS),
            price=None,
            budget=Budget(BudgetSettings()),
        )
        for answers in engine.ask(calls):
            yield {
                int(answer.call_id): Completion(
                    text=answer.text,
                    num_tokens=answer.output_tokens,
                    finish_reason="length" if answer.cut else "stop",
                )
                for answer in answers
                if answer.text is not None
            }
            for answer in answers:
                if answer.text is None:
                    raise ModelError(
                        f"the policy's server gave no response to {prompts[int(answer.call_id)][:60]!r}: "
                        f"{answer.reason}.\n  remedy: {_REMEDY}; then run again: what was sampled is kept"
                    )
