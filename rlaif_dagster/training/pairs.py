"""Encodes preference rows as pairs of token ids, and counts every dropped and cut row."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import TYPE_CHECKING, Final

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import AnsweredPrompt, Dialogue, Dialogues, stream_dialogues
from rlaif_dagster.tables import Row, Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SIDES: Final = ("a", "b")
"""The answers of a pair."""
LN_2: Final = 0.6931471805599453
"""Loss of a model that knows nothing, in nats per pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPairs:
    """Pairs ready for a trainer, in the order of the rows.

    Attributes:
        dialogues: Answers a and b of the first pair, of the second, and so on; both answers of a pair have the same
            prompt.
        p_a: For each pair, the probability that a is better.
        num_dropped: Rows dropped because the prompt alone fills the allowed length.
        num_empty: Rows dropped because an answer has no token: it was cut at `max_new_tokens` before any text.
        num_cut: Pairs with an answer that was cut here, to the allowed length.
    """

    dialogues: Sequence[Dialogue]
    p_a: Sequence[float]
    num_dropped: int
    num_empty: int
    num_cut: int

    def __len__(self) -> int:
        return len(self.p_a)


def read_answer(row: Row, side: str) -> AnsweredPrompt:
    """Reads an answer from a row of the `ai_preferences` table."""
    return AnsweredPrompt(
        prompt=row["prompt"], text=row[f"text_{side}"], finish_reason=row[f"finish_reason_{side}"]
    )


def encode_pairs(
    tokenizer: "PreTrainedTokenizerBase", rows: Iterable[Row], *, max_length: int
) -> EncodedPairs:
    """Encodes rows of the `ai_preferences` table, with one row in memory at a time.

    Both answers of a pair get the same prompt tokens: if an answer's first token would merge with the prompt's last,
    the shorter common start counts as the prompt for both (as in TRL's DPOTrainer).

    Args:
        tokenizer: A tokenizer with a chat template.
        rows: With `prompt`, `text_a`, `finish_reason_a`, the same of b, and `p_a`.
        max_length: The most tokens of prompt and answer together.

    Raises:
        ModelError: If the tokenizer has no chat template.
    """
    rows, again = tee(rows)
    encoded = stream_dialogues(tokenizer, (read_answer(row, side) for row in again for side in SIDES))
    dialogues, p_a = Dialogues(), array("d")
    num_dropped = num_empty = num_cut = 0
    for row, one, other in zip(rows, encoded, encoded, strict=True):
        a, b = _align(one, other)
        if len(a.prompt_ids) >= max_length:
            num_dropped += 1
            continue
        if not a.completion_ids or not b.completion_ids:
            num_empty += 1
            continue
        num_cut += max(len(a.input_ids), len(b.input_ids)) > max_length
        dialogues.append(a.cut(max_length))
        dialogues.append(b.cut(max_length))
        p_a.append(row["p_a"])
    return EncodedPairs(
        dialogues=dialogues, p_a=p_a, num_dropped=num_dropped, num_empty=num_empty, num_cut=num_cut
    )


def require_training_rows(rows: Rows, *, what: str) -> None:
    """Refuses to train on nothing, or on held-out prompts.

    Raises:
        TrainingError: If there are no rows, or one of them is not in the split `train`.
    """
    num_rows = num_held_out = 0
    first = None
    for row in rows:
        num_rows += 1
        if row["split"] != "train":
            num_held_out += 1
            first = first or row["pair_id"]
    if not num_rows:
        raise TrainingError(
            f"{what}: there are no training preferences.\n"
            "  remedy: add prompts or samples per prompt, or check why pairs were dropped"
        )
    if num_held_out:
        raise TrainingError(
            f"{what}: {num_held_out} of {num_rows} pairs belong to held-out prompts (first: {first}).\n"
            "  remedy: use only pairs of the split `train`"
        )


def _align(a: Dialogue, b: Dialogue) -> tuple[Dialogue, Dialogue]:
    start = min(len(a.prompt_ids), len(b.prompt_ids))
    aligned = [
        Dialogue(prompt_ids=dialogue.input_ids[:start], completion_ids=dialogue.input_ids[start:])
        for dialogue in (a, b)
    ]
    return aligned[0], aligned[1]
