"""Preferences for the tiny world: the shorter answer is better, and the more so the shorter it is."""

import itertools
import math

from rlaif_dagster.tables import Row
from tests.training.tiny_models import PROMPTS, answer


def shorter_is_better(num_per_prompt: int = 4) -> list[Row]:
    """Pairs of answers of one to six words; every fourth prompt is held out."""
    rows = []
    for number, prompt in enumerate(PROMPTS):
        lengths = [(number + 3 * i) % 6 + 1 for i in range(4)]
        pairs = itertools.islice(itertools.combinations(lengths, 2), num_per_prompt)
        for index, (a, b) in enumerate(pairs):
            word = prompt.split()[-1]
            rows.append(
                {
                    "pair_id": f"pair-{number}-{index}",
                    "prompt_id": f"prompt-{number}",
                    "split": "eval" if number % 4 == 0 else "train",
                    "prompt": prompt,
                    "text_a": answer(word, a),
                    "text_b": answer(word, b),
                    "finish_reason_a": "stop",
                    "finish_reason_b": "stop",
                    "p_a": 1 / (1 + math.exp(a - b)),
                    "near_tie": a == b,
                }
            )
    return rows


def make_row(
    prompt: str, text_a: str, text_b: str, *, ends: tuple[str, str] = ("stop", "stop"), p_a: float = 0.9
) -> Row:
    """What `ai_preferences` says of a pair, as far as its tokens are made of it."""
    texts = {"prompt": prompt, "text_a": text_a, "text_b": text_b, "p_a": p_a}
    return {**texts, "finish_reason_a": ends[0], "finish_reason_b": ends[1]}


def split_rows(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    return (
        [row for row in rows if row["split"] == "train"],
        [row for row in rows if row["split"] == "eval"],
    )
