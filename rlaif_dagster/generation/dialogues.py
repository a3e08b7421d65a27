"""Encodes prompts and answers as the token ids of a one-turn chat, with the tokenizer's own chat template."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, overload

from rlaif_dagster.errors import ModelError
from rlaif_dagster.generation.finish import FinishReason
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROMPTS_AT_HAND: Final = (
    1024  # how many encoded prompts are cached, because answers to one prompt often follow each other
)
_END_OF_TEXT: Final = "RLAIF_END_OF_TEXT"
"""A marker after the answer while the template is rendered, to find where the answer ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredPrompt:
    """A prompt, an answer to it, and how the answer ended.

    Attributes:
        prompt: The user's text.
        text: The answer.
        finish_reason: As in the table of responses; None (unknown) counts as `stop`.
    """

    prompt: str
    text: str
    finish_reason: FinishReason | None

    @classmethod
    def from_response(cls, prompt: str, row: Row) -> "AnsweredPrompt":
        """Reads a row of a table of responses, with its prompt."""
        return cls(prompt=prompt, text=row["text"], finish_reason=row["finish_reason"])

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at `max_new_tokens`."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer of a policy.

    Attributes:
        text: The text, without special tokens; may be empty.
        num_tokens: Number of new tokens, including the end-of-turn token; None if a server does not say.
        finish_reason: How it ended.
        token_ids: The new tokens, with the end-of-turn token if the policy wrote one; None from a server.
    """

    text: str
    num_tokens: int | None
    finish_reason: FinishReason
    token_ids: tuple[int, ...] = ()

    def answer(self, prompt: str) -> AnsweredPrompt:
        """The text as the answer to its prompt."""
        return AnsweredPrompt(prompt=prompt, text=self.text, finish_reason=self.finish_reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A prompt and its answer in token ids.

    Attributes:
        prompt_ids: The user's turn and the opening of the assistant's.
        completion_ids: The answer and what the template ends it with (the end-of-turn token). If the answer was cut, at
            `max_new_tokens` or by `cut`, only its tokens.
    """

    prompt_ids: list[int]
    completion_ids: list[int]

    @property
    def input_ids(self) -> list[int]:
        """The whole dialogue."""
        return self.prompt_ids + self.completion_ids

    def cut(self, max_length: int) -> "Dialogue":
        """Cuts the end of the answer, so that at most `max_length` tokens are left."""
        room = max(0, max_length - len(self.prompt_ids))
        return Dialogue(prompt_ids=self.prompt_ids, completion_ids=self.completion_ids[:room])


class Dialogues(Sequence[Dialogue]):
    """Dialogues at four bytes per token: lists of Python integers would take ten times as much.

    They are stored one after the other in one array; a `Dialogue` is made on access.
    """

    def __init__(self, dialogues: Iterable[Dialogue] = ()) -> None:
        self._ids, self._prompt_lengths, self._ends = array("i"), array("i"), array("q", [0])
        for dialogue in dialogues:
            self.append(dialogue)

    def append(self, dialogue: Dialogue) -> None:
        """Adds a dialogue at the end."""
        self._ids.fromlist(dialogue.prompt_ids)
        self._ids.fromlist(dialogue.completion_ids)
        self._prompt_lengths.append(len(dialogue.prompt_ids))
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._prompt_lengths)

    @overload
    def __getitem__(self, place: int) -> Dialogue: ...
    @overload
    def __getitem__(self, place: slice) -> list[Dialogue]: ...
    def __getitem__(self, place: int | slice) -> Dialogue | list[Dialogue]:
        places = range(len(self))[place]
        if isinstance(places, range):
            return [self[each] for each in places]
        input_ids = self._ids[self._ends[places] : self._ends[places + 1]].tolist()
        start = self._prompt_lengths[places]
        return Dialogue(prompt_ids=input_ids[:start], completion_ids=input_ids[start:])


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Encodes a prompt as the user's turn, followed by the opening of the assistant's turn.

    Raises:
        ModelError: If the tokenizer has no chat template.
    """
    return _encode(tokenizer, _render(tokenizer, prompt, answer=None))


def encode_dialogues(tokenizer: "PreTrainedTokenizerBase", answers: Iterable[AnsweredPrompt]) -> Dialogues:
    """Encodes prompts with their answers; see `stream_dialogues`."""
    return Dialogues(stream_dialogues(tokenizer, answers))


def stream_dialogues(
    tokenizer: "PreTrainedTokenizerBase", answers: Iterable[AnsweredPrompt]
) -> Iterator[Dialogue]:
    """Encodes prompts with their answers one by one.

    The answer starts where the encodings of the prompt alone and of the whole dialogue diverge, as in TRL's
    DPOTrainer. A cut answer gets no end-of-turn token: the policy never wrote one.

    Raises:
        ModelError: If the tokenizer has no chat template.
    """
    encode = lru_cache(_PROMPTS_AT_HAND)(partial(encode_prompt, tokenizer))
    for answer in answers:
        prompt_ids = encode(answer.prompt)
        render = _render_cut if answer.is_cut else _render
        input_ids = _encode(tokenizer, render(tokenizer, answer.prompt, answer=answer.text))
        start = 0
        while start < min(len(prompt_ids), len(input_ids)) and prompt_ids[start] == input_ids[start]:
            start += 1
        yield Dialogue(prompt_ids=input_ids[:start], completion_ids=input_ids[start:])


def _render(tokenizer: "PreTrainedTokenizerBase", prompt: str, *, answer: str | None) -> str:
    messages = [{"role": "user", "content": prompt}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    if not tokenizer.chat_template:
        raise ModelError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template, but prompts are sent as a chat.\n"
            "  remedy: use an instruction-tuned model, or add chat_template.jinja to the model folder"
        )
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer is None))


def _render_cut(tokenizer: "PreTrainedTokenizerBase", prompt: str, *, answer: str) -> str:
    """Renders the dialogue up to the answer's last character.

    White space that the template writes before an answer is kept, because decoding may have lost it. Anything else the
    policy never saw (an empty block of thoughts, for example), so the answer follows the opening of the turn.
    """
    opening = _render(tokenizer, prompt, answer=None)
    if not answer:
        return opening
    rendered, _, _ = _render(tokenizer, prompt, answer=answer + _END_OF_TEXT).rpartition(_END_OF_TEXT)
    if rendered.startswith(opening) and rendered[len(opening) :].strip() == answer.strip():
        return rendered
    return opening + answer


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
