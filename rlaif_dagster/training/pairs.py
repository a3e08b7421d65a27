"""Preference rows as pairs of token ids, every drop and cut counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import Dialogue, encode_dialogues
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two answers to one prompt, and the probability `p_a` that a is the better one."""

    a: Dialogue
    b: Dialogue
    p_a: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPairs:
    """Pairs ready for a trainer.

    Attributes:
        pairs: In the order of the rows.
        kept: The position of each pair's row.
        num_dropped: Rows whose prompt alone fills the allowed length.
        num_cut: Pairs with an answer that was cut at its end.
    """

    pairs: tuple[PreferencePair, ...]
    kept: tuple[int, ...]
    num_dropped: int
    num_cut: int


def encode_pairs(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], *, max_length: int
) -> EncodedPairs:
    """Encodes rows of the `ai_preferences` table.

    Both answers of a pair get the same prompt tokens: where an answer's first token would merge with the prompt's
    last, the shorter common start counts as prompt for both (as in TRL's DPOTrainer).

    Args:
        tokenizer: A tokenizer with a chat template.
        rows: With `prompt`, `text_a`, `text_b` and `p_a`.
        max_length: Most tokens of prompt and answer together.

    Raises:
        ModelError: If the tokenizer has no chat template.
    """
    texts = [(row["prompt"], row[text]) for row in rows for text in ("text_a", "text_b")]
    dialogues = encode_dialogues(tokenizer, texts)
    pairs, kept = [], []
    num_cut = 0
    for position, row in enumerate(rows):
        a, b = _align(dialogues[2 * position], dialogues[2 * position + 1])
        if len(a.prompt_ids) >= max_length:
            continue
        num_cut += max(len(a.input_ids), len(b.input_ids)) > max_length
        pairs.append(PreferencePair(a=a.cut(max_length), b=b.cut(max_length), p_a=float(row["p_a"])))
        kept.append(position)
    return EncodedPairs(
        pairs=tuple(pairs), kept=tuple(kept), num_dropped=len(rows) - len(pairs), num_cut=num_cut
    )


def require_training_rows(rows: Sequence[Row], *, what: str) -> None:
    """Refuses to train on nothing, or on held-out prompts.

    Raises:
        TrainingError: If there are no rows, or one of them is of another split than `train`.
    """
    if not rows:
        raise TrainingError(
            f"{what}: there are no training preferences.\n"
            "  remedy: give more prompts or samples a prompt, or check why pairs were dropped"
        )
    held_out = [row["pair_id"] for row in rows if row["split"] != "train"]
    if held_out:
        raise TrainingError(
            f"{what}: {len(held_out)} of {len(rows)} pairs belong to held-out prompts (first: {held_out[0]}).\n"
            "  remedy: give only pairs of the split `train`"
        )


def _align(a: Dialogue, b: Dialogue) -> tuple[Dialogue, Dialogue]:
    start = min(len(a.prompt_ids), len(b.prompt_ids))
    aligned = [
        Dialogue(prompt_ids=dialogue.input_ids[:start], completion_ids=dialogue.input_ids[start:])
        for dialogue in (a, b)
    ]
    return aligned[0], aligned[1]
