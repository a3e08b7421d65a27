"""A judge that runs here: verdicts from the next-token probabilities of a causal language model.

The model reads a request as a chat and is asked for the next token; P(first is better) is the softmax
over the logits of the two verdict words (the "logprob" verdict of RLAIF: Lee et al. 2023,
arXiv:2309.00267, section 2.1).

Requests are sorted by length and padded on the right: a causal model does not see what follows, so
neither the padding nor the other requests of a batch change a verdict, but for floating-point noise,
which is rounded away. The tokenizer's control tokens in messages are read as plain text.

Known trade-offs (accepted): a request that exceeds the context fails rather than being cut; a prefix that
requests share is computed for each.
"""

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import TemplateError

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.calls import Answer, Call
from rlaif_dagster.judging.settings import LocalJudgeSettings, name_judge
from rlaif_dagster.judging.templates import Template

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NUM_DECIMALS: Final = 6
"""Probabilities are rounded to this, well above the noise of float32 sums in another order."""
CHUNK: Final = 4096
"""Requests that are tokenised, and sorted by length, at a time."""
BATCH_TOKENS: Final = 8192
"""Tokens, padding counted, that go through the model at once."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A call as token ids."""

    call_id: str
    ids: list[int]


class LocalJudge:
    """A `Judge` on a model folder; the model is opened when the first request comes."""

    def __init__(
        self,
        settings: LocalJudgeSettings,
        template: Template,
        *,
        folder: Path,
        device: "torch.device | str" = "cpu",
        batch_size: int = 128,
    ) -> None:
        """Takes what the judge is made of.

        Args:
            settings: The judge's settings.
            template: The judge's prompt, which gives the verdict words.
            folder: A model folder.
            device: Where to run.
            batch_size: Most requests at once; long ones go in smaller batches. No matter for verdicts.
        """
        self._settings = settings
        self._name = name_judge(settings)
        self._template = template
        self._folder = folder
        self._device = device
        self._batch_size = batch_size

    def ask(self, calls: Iterable[Call]) -> Iterator[Answer]:
        """Yields one answer for each call, longest requests of a chunk first.

        Raises:
            JudgeError: If a verdict word is not one token, or the model cannot read chats.
            ModelError: If the folder cannot be opened.
        """
        from rlaif_dagster.models import open_causal_lm

        model, tokenizer = open_causal_lm(self._folder, dtype=self._settings.dtype)
        cast(Any, model).to(self._device)
        limit = self._find_limit(model)
        words: tuple[int, int] | None = None
        waiting = iter(calls)
        while chunk := list(itertools.islice(waiting, CHUNK)):
            chats = [self._template.render(call.texts) for call in chunk]
            if words is None:
                words = find_verdict_tokens(
                    tokenizer,
                    chats[0],
                    (self._template.verdicts["first"], self._template.verdicts["second"]),
                    judge=self._name,
                )
            rows = _apply_chat(tokenizer, chats, judge=self._name, tokenize=True)
            encoded = [_Encoded(call.call_id, row) for call, row in zip(chunk, rows, strict=True)]
            encoded.sort(key=lambda item: -len(item.ids))
            for item in encoded:
                if len(item.ids) > limit:
                    reason = f"the request has {len(item.ids)} tokens, the judge reads at most {limit}"
                    yield Answer(call_id=item.call_id, status="failed", reason=reason)
            fitting = [item for item in encoded if len(item.ids) <= limit]
            for batch in _cut_batches(fitting, self._batch_size):
                scores = score_batch(model, [item.ids for item in batch], words)
                for item, p_first in zip(batch, scores, strict=True):
                    yield _state(item, p_first)

    def _find_limit(self, model: "PreTrainedModel") -> int:
        limits = (
            self._settings.max_length,
            getattr(model.config.get_text_config(), "max_position_embeddings", None),
        )
        return min((limit for limit in limits if limit is not None), default=sys.maxsize)


def _state(item: _Encoded, p_first: float) -> Answer:
    if not math.isfinite(p_first):
        return Answer(call_id=item.call_id, status="failed", reason="the judge's logits are not finite")
    return Answer(
        call_id=item.call_id, status="ok", score=round(p_first, NUM_DECIMALS), input_tokens=len(item.ids)
    )


def score_batch(
    model: "PreTrainedModel", sequences: Sequence[Sequence[int]], words: tuple[int, int]
) -> list[float]:
    """P(first) of each sequence: softmax over the logits of two tokens at its last position.

    Args:
        model: A causal language model.
        sequences: Token ids, of any lengths >= 1.
        words: The token ids of the verdicts "first" and "second".
    """
    import torch

    lengths = torch.tensor([len(ids) for ids in sequences])
    padded = torch.zeros((len(sequences), int(lengths.max())), dtype=torch.long)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = torch.tensor(ids)
    last = (lengths - 1)[:, None]
    with torch.inference_mode():
        # No attention mask: padding stands to the right, where a causal model does not look.
        logits = model(
            input_ids=padded.to(model.device), logits_to_keep=last.to(model.device), use_cache=False
        ).logits
    first, second = logits[:, 0, list(words)].double().unbind(dim=-1)
    probabilities: list[float] = torch.sigmoid(first - second).tolist()
    return probabilities


def find_verdict_tokens(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[dict[str, str]],
    words: tuple[str, str],
    *,
    judge: str,
) -> tuple[int, int]:
    """The token that each verdict word is, right after a request.

    Raises:
        JudgeError: If a word is not exactly one token there, or both are the same.
    """
    text = _apply_chat(tokenizer, [messages], judge=judge, tokenize=False)[0]
    ids = tokenizer.encode(text, add_special_tokens=False)
    tokens = []
    for word in words:
        longer = tokenizer.encode(text + word, add_special_tokens=False)
        if longer[: len(ids)] != ids or len(longer) != len(ids) + 1:
            raise JudgeError(
                f"judge {judge}: the verdict word {word!r} is {len(longer) - len(ids)} tokens "
                "after a request, not one.\n  remedy: choose other `verdicts` in the template, like A and B"
            )
        tokens.append(longer[-1])
    if tokens[0] == tokens[1]:
        raise JudgeError(
            f"judge {judge}: the verdict words {words[0]!r} and {words[1]!r} are the same token.\n"
            "  remedy: choose other `verdicts` in the judge's template, such as A and B"
        )
    return tokens[0], tokens[1]


def _apply_chat(
    tokenizer: "PreTrainedTokenizerBase",
    chats: Sequence[Sequence[dict[str, str]]],
    *,
    judge: str,
    tokenize: bool,
) -> list[Any]:
    """Renders chats up to where the judge speaks; merges the system message where a format has none."""
    if tokenizer.chat_template is None:
        raise JudgeError(
            f"judge {judge}: its tokenizer has no chat template, so it cannot be asked.\n"
            "  remedy: name a chat ('instruct') model"
        )
    options: dict[str, Any] = {
        "add_generation_prompt": True,
        "enable_thinking": False,  # the next token is to be the verdict; formats without thinking ignore this
        "tokenize": tokenize,
        "return_dict": False,
        "sanitize_control_tokens": tokenize,
    }
    try:
        rendered = tokenizer.apply_chat_template([list(chat) for chat in chats], **options)
    except TemplateError:
        merged = [merge_system_message(chat) for chat in chats]
        try:
            rendered = tokenizer.apply_chat_template(merged, **options)
        except TemplateError as error:
            raise JudgeError(
                f"judge {judge}: its chat template refuses the request ({error}).\n"
                "  remedy: write a judge template with the roles that this model knows"
            ) from error
    return list(rendered)


def merge_system_message(chat: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Puts a leading system message in front of the user's first, for chat formats without a system role."""
    if len(chat) > 1 and chat[0]["role"] == "system" and chat[1]["role"] == "user":
        content = f"{chat[0]['content']}\n\n{chat[1]['content']}"
        return [{"role": "user", "content": content}, *chat[2:]]
    return list(chat)


def _cut_batches(encoded: Sequence[_Encoded], batch_size: int) -> Iterator[list[_Encoded]]:
    """Cuts requests, longest first, into batches of at most `batch_size` and at most BATCH_TOKENS."""
    start = 0
    while start < len(encoded):
        size = max(1, min(batch_size, BATCH_TOKENS // len(encoded[start].ids)))
        yield list(encoded[start : start + size])
        start += size
