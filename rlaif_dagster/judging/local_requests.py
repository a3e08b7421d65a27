"""Requests to a judge that runs here: chats as token ids, in batches of similar length."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from jinja2 import TemplateError

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.templates import VARIABLES, Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Chat = Sequence[dict[str, str]]
"""Messages, each with `role` and `content`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedCall:
    """A call as token ids for the judge's model.

    Attributes:
        call_id: The call.
        ids: Token ids, up to where the judge's turn starts; at least one.
        cut: Whether an answer in it is cut.
    """

    call_id: str
    ids: tuple[int, ...]
    cut: bool

    @property
    def width(self) -> int:
        """The length to which it is padded: the next multiple of 8, of 16 from 128 on, of 32 from 256 on, and so on.

        It depends only on the request, so that a verdict cannot depend on other requests in the batch.
        """
        step = 1 << max(3, len(self.ids).bit_length() - 4)
        return -(-len(self.ids) // step) * step


def find_context(model: "PreTrainedModel") -> int:
    """Finds the longest sequence that a model can read and write, in tokens."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return sys.maxsize if longest is None else int(longest)


def form_batches(
    requests: Iterable[EncodedCall], *, batch_size: int, max_tokens: int, new_tokens: int = 0
) -> Iterator[list[EncodedCall]]:
    """Forms batches of requests that are padded to one width, widest first.

    Args:
        requests: The requests.
        batch_size: The most requests in one batch.
        max_tokens: The most tokens in one batch, including padding and new tokens; a single request is always allowed.
        new_tokens: Tokens that each request may grow by.
    """
    for width, same in itertools.groupby(sorted(requests, key=lambda r: -r.width), key=lambda r: r.width):
        size = max(1, min(batch_size, max_tokens // (width + new_tokens)))
        yield from map(list, _take_turns(same, size))


def _take_turns(items: Iterable[EncodedCall], size: int) -> Iterator[tuple[EncodedCall, ...]]:
    waiting = iter(items)
    while taken := tuple(itertools.islice(waiting, size)):
        yield taken


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRendering:
    """How a tokenizer renders a chat up to the judge's turn. Control tokens in messages are read as plain text.

    Attributes:
        tokenizer: The tokenizer.
        merges_system: If True, the system message is put in front of the user's, because the format has no system role.
        sample: A small request as text.
    """

    tokenizer: "PreTrainedTokenizerBase"
    merges_system: bool
    sample: str

    @classmethod
    def find(cls, tokenizer: "PreTrainedTokenizerBase", template: Template, *, judge: str) -> Self:
        """Finds how a judge's prompt fits the tokenizer's chat format.

        Raises:
            JudgeError: If it does not fit.
        """
        if tokenizer.chat_template is None:
            raise JudgeError(
                f"judge {judge}: its tokenizer has no chat template, so it cannot be asked.\n"
                "  remedy: use a chat ('instruct') model"
            )
        chat = template.render({name: name for name in VARIABLES[template.form]})
        refusal = "it leaves the system message out"
        for merges_system in (False, True):
            tried = cls(tokenizer=tokenizer, merges_system=merges_system, sample="")
            try:
                sample = tried._apply([chat], tokenize=False)[0]
            except TemplateError as error:
                refusal = str(error)
                continue
            if all(line["content"].strip() in sample for line in chat if line["role"] == "system"):
                return cls(tokenizer=tokenizer, merges_system=merges_system, sample=sample)
        raise JudgeError(
            f"judge {judge}: its chat template refuses the request ({refusal}).\n"
            "  remedy: write a judge template with roles that this model knows"
        )

    def encode(self, chats: Sequence[Chat]) -> list[list[int]]:
        """Encodes each chat as token ids."""
        return self._apply(chats, tokenize=True)

    def encode_after_sample(self, word: str) -> tuple[int, ...] | None:
        """Encodes a word right after a request; None if it changes the tokens of the request itself."""
        ids, longer = (
            self.tokenizer.encode(text, add_special_tokens=False)
            for text in (self.sample, self.sample + word)
        )
        return tuple(longer[len(ids) :]) if longer[: len(ids)] == ids else None

    def _apply(self, chats: Sequence[Chat], *, tokenize: bool) -> list[Any]:
        rendered = self.tokenizer.apply_chat_template(
            [merge_system_message(chat) if self.merges_system else list(chat) for chat in chats],
            add_generation_prompt=True,
            enable_thinking=False,  # the judge should answer at once; formats without thinking ignore this
            tokenize=tokenize,
            return_dict=False,
            sanitize_control_tokens=tokenize,
        )
        return list(rendered)


def merge_system_message(chat: Chat) -> list[dict[str, str]]:
    """Puts a leading system message in front of the first user message, for chat formats without a system role."""
    if len(chat) > 1 and chat[0]["role"] == "system" and chat[1]["role"] == "user":
        content = f"{chat[0]['content']}\n\n{chat[1]['content']}"
        return [{"role": "user", "content": content}, *chat[2:]]
    return list(chat)
