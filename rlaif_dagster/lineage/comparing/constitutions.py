"""Compares two constitutions principle by principle, and a changed wording word by word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from rlaif_dagster.judging.constitution import Constitution

PrincipleChange = Literal["added", "removed", "reworded", "reweighted", "reworded and reweighted"]

_WORD = re.compile(r"(?:\w+|[^\w\s])\s*|\s+")
"""A word or a punctuation mark, with the white space after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A piece of a text that was edited: `same`, `removed` or `added`."""

    what: Literal["same", "removed", "added"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleDiff:
    """A principle that is not the same on both sides.

    Attributes:
        principle_id: The principle.
        change: How it changed.
        before: Its text on side A; None if it was added.
        after: Its text on side B; None if it was removed.
        text: The pieces of both wordings: A has `same` and `removed`, B has `same` and `added`.
        weight_before: Its weight on side A.
        weight_after: Its weight on side B.
    """

    principle_id: str
    change: PrincipleChange
    before: str | None
    after: str | None
    text: tuple[TextPart, ...]
    weight_before: float | None
    weight_after: float | None


def compare_constitutions(before: Constitution, after: Constitution) -> tuple[PrincipleDiff, ...]:
    """Lists the principles that differ, by id."""
    old, new = ({principle.id: principle for principle in side.principles} for side in (before, after))
    found = []
    for principle_id in sorted(old.keys() | new.keys()):
        a, b = old.get(principle_id), new.get(principle_id)
        if a == b:
            continue
        found.append(
            PrincipleDiff(
                principle_id=principle_id,
                change="added"
                if a is None
                else "removed"
                if b is None
                else "reweighted"
                if a.text == b.text
                else "reworded"
                if a.weight == b.weight
                else "reworded and reweighted",
                before=a.text if a else None,
                after=b.text if b else None,
                text=tuple(compare_texts(a.text if a else "", b.text if b else "")),
                weight_before=a.weight if a else None,
                weight_after=b.weight if b else None,
            )
        )
    return tuple(found)


def compare_texts(before: str, after: str) -> Iterator[TextPart]:
    """Yields the pieces of two texts, word by word, in reading order."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    for tag, a_start, a_end, b_start, b_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield TextPart(what="same", text="".join(old[a_start:a_end]))
            continue
        if a_end > a_start:
            yield TextPart(what="removed", text="".join(old[a_start:a_end]))
        if b_end > b_start:
            yield TextPart(what="added", text="".join(new[b_start:b_end]))
