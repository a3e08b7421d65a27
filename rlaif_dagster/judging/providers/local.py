"""A judge that runs here: any causal language model of transformers, read by probabilities or by its text."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, cast

from pydantic import Field, model_validator

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.cutting import ANSWERS, cut_texts, find_limit
from rlaif_dagster.judging.local_requests import ChatRendering, EncodedCall, find_context
from rlaif_dagster.judging.local_scoring import find_paths, find_words, score_requests
from rlaif_dagster.judging.local_writing import write_replies
from rlaif_dagster.judging.settings import AskedJudgeSettings, Opening, VerdictReading, name_judge
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.models import ModelSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHUNK_CALLS: Final = 4096
CHUNK_CHARS: Final = 4_000_000
"""How many calls, and characters in them, are tokenised and sorted by length at a time."""
ORDER_TOKENS: Final = 16
"""The order of its answers changes a request's length by less than this many tokens."""


class LocalJudgeSettings(AskedJudgeSettings):
    """A judge that runs here: any causal language model that transformers opens."""

    is_final: ClassVar[bool] = True
    is_free: ClassVar[bool] = True

    provider: Literal["local"]
    model: str = Field(min_length=1)
    """`embedded:judge`, a folder inside the project, or a Hugging Face id such as `org/name`."""
    revision: str | None = None
    """For a Hugging Face id: the full commit hash."""
    verdict: VerdictReading = "logprob"
    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    """The sampling temperature of written verdicts; 0 is greedy."""
    max_new_tokens: int = Field(default=256, ge=1)
    """The longest written verdict, in tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: int | None = Field(default=None, ge=1)
    """The longest request, in tokens; null uses the model's context."""

    @property
    def reading(self) -> VerdictReading:
        """The setting `verdict`."""
        return self.verdict

    @property
    def named_model(self) -> ModelSettings:
        """Its model."""
        return ModelSettings(model=self.model, revision=self.revision)

    @property
    def max_tokens_written(self) -> int:
        """The longest text that it writes, in tokens."""
        return self.max_new_tokens

    def describe(self) -> dict[str, Any]:
        """Describes the fields that decide what it answers; settings of writing count only if it writes."""
        unread = ("temperature", "max_new_tokens") if self.verdict == "logprob" else ()
        return {name: value for name, value in super().describe().items() if name not in unread}

    def open_judge(self, opening: Opening) -> "LocalJudge":
        """Opens the judge; its model is opened at the first question."""
        if opening.numerics is None:
            raise TypeError("a judge that runs a model needs `numerics`")
        from rlaif_dagster.numerics import prepare_torch

        numerics = opening.numerics
        return LocalJudge(
            self,
            opening.template,
            folder=opening.model,
            device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
            batch_size=opening.batch_size,
        )

    @model_validator(mode="after")
    def _refuse_equal_repeats(self) -> Self:
        if self.repeats > 1 and (self.verdict == "logprob" or self.temperature == 0.0):
            raise ValueError(
                f"repeats is {self.repeats}, but this judge answers the same each time; "
                "remedy: set repeats to 1, or verdict to text with a temperature above 0"
            )
        return self


class LocalJudge:
    """A `Judge` on a model folder; the model is opened at the first request."""

    def __init__(
        self,
        settings: LocalJudgeSettings,
        template: Template,
        *,
        folder: Path,
        device: "torch.device | str" = "cpu",
        batch_size: int = 128,
    ) -> None:
        """Makes the judge.

        Args:
            settings: The judge's settings.
            template: The judge's prompt, which defines the verdict words.
            folder: A model folder.
            device: Where to run.
            batch_size: The largest batch of requests; long ones go in smaller batches. Does not affect verdicts.
        """
        self._settings = settings
        self._name = name_judge(settings)
        self._template = template
        self._folder = folder
        self._device = device
        self._batch_size = batch_size

    def ask(self, calls: Iterable[Call]) -> Iterator[list[Reply]]:
        """Yields one answer for each call, in batches, the longest requests of a chunk first.

        Raises:
            JudgeError: If the model cannot read chats, cannot say a verdict word, or its context is too short.
            ModelError: If the folder cannot be opened, or its weights do not fit.
        """
        from rlaif_dagster.weights import JUDGE_USE, open_model

        opened = open_model(self._folder, JUDGE_USE, dtype=self._settings.dtype)
        model, tokenizer = opened.model, opened.tokenizer
        cast(Any, model).to(self._device)
        chat = ChatRendering.find(tokenizer, self._template, judge=self._name)
        answer: Callable[..., Iterator[list[Reply]]]
        if self._settings.verdict == "text":
            answer = partial(
                write_replies,
                model,
                tokenizer,
                temperature=self._settings.temperature,
                max_new_tokens=self._settings.max_new_tokens,
            )
            num_new = self._settings.max_new_tokens
        else:
            words = find_words(chat, self._template, judge=self._name)
            answer = partial(score_requests, model, words=words, template=self._template)
            num_new = max(map(len, find_paths(words)))
        room = self._find_room(model, num_new)
        for chunk in _take_chunks(calls):
            encoded = list(self._encode(chunk, chat, room))
            yield [item for item in encoded if isinstance(item, Reply)]
            requests = [item for item in encoded if isinstance(item, EncodedCall)]
            yield from answer(requests, batch_size=self._batch_size)

    def _find_room(self, model: "PreTrainedModel", num_new: int) -> int:
        """Finds the longest possible request, in tokens."""
        context = find_context(model)
        if num_new >= context:
            raise JudgeError(
                f"judge {self._name}: {num_new} new tokens leave no room for a request in its context of {context}.\n"
                "  remedy: lower `max_new_tokens`"
            )
        return min(self._settings.max_length or sys.maxsize, context - num_new)

    def _encode(self, chunk: Sequence[Call], chat: ChatRendering, room: int) -> Iterator[EncodedCall | Reply]:
        shown = [cut_texts(call.texts, self._settings.max_answer_chars) for call in chunk]
        rows = chat.encode([self._template.render(texts) for texts, _ in shown])
        for call, (_, was_cut), ids in zip(chunk, shown, rows, strict=True):
            if len(ids) <= room - ORDER_TOKENS:
                yield EncodedCall(call_id=call.call_id, ids=tuple(ids), cut=was_cut)
            else:
                yield self._fit(call, chat, room)

    def _fit(self, call: Call, chat: ChatRendering, room: int) -> EncodedCall | Reply:
        """Cuts the answers of a request until it fits in either order."""
        texts, _ = cut_texts(call.texts, sys.maxsize)
        orders = [texts]
        if "second" in texts:
            orders.append({**texts, "first": texts["second"], "second": texts["first"]})
        longest = max(len(texts.get(name, "")) for name in ANSWERS)

        def encode(limit: int) -> list[list[int]]:
            return chat.encode([self._template.render(cut_texts(order, limit)[0]) for order in orders])

        def count(limit: int) -> int:
            return max(map(len, encode(limit)))

        limit = find_limit(count, room, max(1, min(longest, self._settings.max_answer_chars or longest)))
        if limit is None:
            reason = f"the request has {count(1)} tokens with answers of one character, the judge reads at most {room}"
            return Reply(call_id=call.call_id, status="failed", reason=reason)
        return EncodedCall(call_id=call.call_id, ids=tuple(encode(limit)[0]), cut=limit < longest)


def _take_chunks(calls: Iterable[Call]) -> Iterator[list[Call]]:
    chunk: list[Call] = []
    num_chars = 0
    for call in calls:
        chunk.append(call)
        num_chars += sum(map(len, call.texts.values()))
        if len(chunk) == CHUNK_CALLS or num_chars >= CHUNK_CHARS:
            yield chunk
            chunk, num_chars = [], 0
    if chunk:
        yield chunk
