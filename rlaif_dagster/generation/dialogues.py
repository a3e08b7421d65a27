"""Prompts and answers as the token ids of a one-turn chat, by the tokenizer's own chat template."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlaif_dagster.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A prompt and its answer in token ids.

    Attributes:
        prompt_ids: The user's turn and the opening of the assistant's.
        completion_ids: The answer and what the template ends it with (the end-of-turn token).
    """

    prompt_ids: list[int]
    completion_ids: list[int]

    @property
    def input_ids(self) -> list[int]:
        """The whole dialogue."""
        return self.prompt_ids + self.completion_ids

    def cut(self, max_length: int) -> "Dialogue":
        """The dialogue without the end of its answer, so that at most `max_length` tokens are left."""
        room = max(0, max_length - len(self.prompt_ids))
        return Dialogue(prompt_ids=self.prompt_ids, completion_ids=self.completion_ids[:room])


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Encodes a prompt as the user's turn, followed by the opening of the assistant's turn.

    Raises:
        ModelError: If the tokenizer has no chat template.
    """
    return _encode(tokenizer, _render(tokenizer, prompt, answer=None))


def encode_dialogues(
    tokenizer: "PreTrainedTokenizerBase", texts: Iterable[tuple[str, str]]
) -> list[Dialogue]:
    """Encodes (prompt, answer) texts.

    The answer starts where the encodings of the prompt alone and of the whole dialogue part, as in TRL's
    DPOTrainer.

    Raises:
        ModelError: If the tokenizer has no chat template.
    """
    prompts: dict[str, list[int]] = {}
    dialogues = []
    for prompt, answer in texts:
        if prompt not in prompts:
            prompts[prompt] = encode_prompt(tokenizer, prompt)
        prompt_ids = prompts[prompt]
        input_ids = _encode(tokenizer, _render(tokenizer, prompt, answer=answer))
        start = 0
        while start < min(len(prompt_ids), len(input_ids)) and prompt_ids[start] == input_ids[start]:
            start += 1
        dialogues.append(Dialogue(prompt_ids=input_ids[:start], completion_ids=input_ids[start:]))
    return dialogues


def _render(tokenizer: "PreTrainedTokenizerBase", prompt: str, *, answer: str | None) -> str:
    messages = [{"role": "user", "content": prompt}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    if not tokenizer.chat_template:
        raise ModelError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template, and prompts are sent as a chat.\n"
            "  remedy: use an instruction-tuned model, or add chat_template.jinja to the model folder"
        )
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer is None))


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
