"""Finds rows of one author that are copies of another's, as happens in public files of verdicts and answers.

Rows that answer the same question are compared. A telling row is one that two authors would hardly produce
independently: a probability with many decimals, or a long text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

MIN_TELLING_ROWS: Final = 5
"""With fewer common telling rows than this, there is no proof of a copy."""
MIN_COPIED_SHARE: Final = 0.9
"""The share of common telling rows that must be equal."""
MIN_PLAIN_ROWS: Final = 100
"""How many common rows, all equal, make a copy if no row is telling."""
MIN_TELLING_CHARACTERS: Final = 80
"""A text at least this long is telling."""
_MIN_TELLING_DECIMALS: Final = 3
_MIN_UNSURE: Final = 0.001


@dataclass(frozen=True, slots=True)
class AuthoredRow:
    """A row's content, whether it is telling, and its key: rows with the same key were made once."""

    content: tuple[Any, ...]
    is_telling: bool
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Rows of one name that equal another's.

    Attributes:
        one: The first name.
        other: The other name.
        num_equal: Number of equal rows.
        num_rows: Number of compared rows.
    """

    one: str
    other: str
    num_equal: int
    num_rows: int


def make_verdict_row(answer: Sequence[Any], key: str | None = None) -> AuthoredRow:
    """Makes a row of (verdict, p_first, raw_text)."""
    _, p_first, raw_text = answer
    is_fine = (
        p_first is not None
        and _MIN_UNSURE <= p_first <= 1 - _MIN_UNSURE
        and round(p_first, _MIN_TELLING_DECIMALS) != p_first
    )
    return AuthoredRow(tuple(answer), is_fine or len(raw_text or "") >= MIN_TELLING_CHARACTERS, key)


def find_copies(rows: Mapping[str, Mapping[Any, AuthoredRow]], *, plain: bool = True) -> Iterator[Copy]:
    """Yields pairs of names whose rows are equal.

    Args:
        rows: For each name, its rows by the question that they answer.
        plain: Whether many equal rows count as a copy even if none is telling.
    """
    for one, other in combinations(sorted(rows), 2):
        common = [
            (rows[one][name], rows[other][name])
            for name in rows[one].keys() & rows[other].keys()
            if rows[one][name].key is None or rows[one][name].key != rows[other][name].key
        ]
        telling = [(left, right) for left, right in common if left.is_telling or right.is_telling]
        looked_at = telling or (common if plain else [])
        num_equal = sum(left.content == right.content for left, right in looked_at)
        least, share = (MIN_TELLING_ROWS, MIN_COPIED_SHARE) if telling else (MIN_PLAIN_ROWS, 1.0)
        if len(looked_at) >= least and num_equal >= share * len(looked_at):
            yield Copy(one=one, other=other, num_equal=num_equal, num_rows=len(looked_at))
