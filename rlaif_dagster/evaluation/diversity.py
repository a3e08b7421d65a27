"""Measures how varied a policy's answers to one prompt are: training against a reward often reduces variety."""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rlaif_dagster.stats.pairing import PairedFigure, pair_shares

_WORD: Final = re.compile(r"\w+")

Answers = Mapping[str, Sequence[str]]
"""A policy's answers by prompt."""


def measure_diversity(
    base: Answers, aligned: Answers, *, confidence: float = 0.95
) -> tuple[PairedFigure, ...]:
    """Measures the variety of both policies' answers, over the prompts with at least two answers of both.

    Every figure is a mean over prompts of a share within one prompt:

    - `distinct_answers`: different texts among the answers;
    - `distinct_1`, `distinct_2`: different words, and pairs of words, among all (Li et al. 2016, arXiv:1510.03055,
      section 5.2). They fall with the number and the length of the answers: compare policies at equal numbers;
    - `self_similarity`: the share of word pairs that two answers have in common among those that either has (Jaccard),
      as a mean over all pairs of answers. 1 means that all answers are the same.

    Args:
        base: The base policy's answers by prompt.
        aligned: The aligned policy's answers by prompt.
        confidence: The confidence of the intervals, in (0, 1).
    """
    figures: dict[str, Callable[[Sequence[str]], float | None]] = {
        "distinct_answers": lambda texts: len(set(texts)) / len(texts),
        "distinct_1": lambda texts: find_distinct_share(texts, 1),
        "distinct_2": lambda texts: find_distinct_share(texts, 2),
        "self_similarity": find_self_similarity,
    }
    prompts = sorted(name for name in base if min(len(base[name]), len(aligned.get(name, ()))) > 1)
    measured = []
    for name, measure in figures.items():
        values = [(measure(base[prompt]), measure(aligned[prompt]), prompt) for prompt in prompts]
        known = [
            (one, other, prompt) for one, other, prompt in values if one is not None and other is not None
        ]
        measured.append(
            pair_shares(
                name,
                [one for one, _, _ in known],
                [other for _, other, _ in known],
                [prompt for _, _, prompt in known],
                confidence=confidence,
                is_binary=False,
            )
        )
    return tuple(figure for figure in measured if figure is not None)


def find_distinct_share(texts: Sequence[str], n: int) -> float | None:
    """Finds the share of different n-grams of words among all of some texts; None if there are none."""
    grams = [gram for text in texts for gram in _list_grams(text, n)]
    return len(set(grams)) / len(grams) if grams else None


def find_self_similarity(texts: Sequence[str]) -> float:
    """Finds the mean similarity of two or more texts, in [0, 1]; texts without word pairs are compared by words."""
    grams = [set(_list_grams(text, 2) or _list_grams(text, 1)) for text in texts]
    shares = [_find_overlap(one, other) for one, other in itertools.combinations(grams, 2)]
    return math.fsum(shares) / len(shares)


def _find_overlap(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _list_grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
