"""The price of a stage before it runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from rlaif_dagster.tables import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """At least `min` and at most `max`; `max` is None if there is no bound."""

    min: float = 0
    max: float | None = 0

    def __add__(self, other: "Range") -> "Range":
        known = self.max is not None and other.max is not None
        return Range(min=self.min + other.min, max=(self.max or 0) + (other.max or 0) if known else None)

    def cover(self, other: "Range") -> "Range":
        """The range that covers both."""
        known = self.max is not None and other.max is not None
        return Range(min=min(self.min, other.min), max=max(self.max or 0, other.max or 0) if known else None)

    def scale(self, factor: float) -> "Range":
        """The range of the quantity times a factor."""
        return Range(min=self.min * factor, max=None if self.max is None else self.max * factor)


UNKNOWN: Final = Range(min=0, max=None)
"""An unknown amount."""


def add_ranges(ranges: Iterable[Range | None]) -> Range | None:
    """The range of a sum; None if one of the terms is unknown."""
    total = Range()
    for summand in ranges:
        if summand is None:
            return None
        total += summand
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Foreseen:
    """What is known about a version before it is made.

    Attributes:
        digest: Its content digest, if that is certain.
        open: Returns a folder with its files, or None if they are not available.
        rows: If there are no files yet: the rows that it will have. A value is None if it is not made yet.
    """

    digest: str | None = None
    open: Callable[[], Path | None] = lambda: None
    rows: tuple[Row, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a stage spends.

    Attributes:
        rows_sampled: Responses to sample.
        rows_reused: Responses reused from earlier versions.
        judge_calls: Verdicts to ask for.
        judge_calls_reused: Verdicts that are certainly reused from an earlier version.
        tokens: Tokens that the judges read and write, or None if unknown; see `graph.fees`.
        cost: The judges' fees, or None if unknown.
        currency: The currency of the fees; None if there are none.
        output: What is known about the output, in two cases: everything that is made again comes out unchanged, or not.
            None if the first is the existing version and the second is unknown.
    """

    rows_sampled: Range = Range()
    rows_reused: int = 0
    judge_calls: Range = Range()
    judge_calls_reused: int = 0
    tokens: Range | None = Range()
    cost: Range | None = Range()
    currency: str | None = None
    output: tuple[Foreseen | None, Foreseen] | None = field(default=None, repr=False, compare=False)


NOTHING: Final = Price()
"""The price of a stage that runs no model and asks no judge."""


def add_prices(prices: Iterable[Price]) -> Price:
    """Adds prices, without their outputs; fees in several currencies have no sum."""
    summands = list(prices)
    currencies = {price.currency for price in summands if price.currency is not None}
    return Price(
        rows_sampled=sum((price.rows_sampled for price in summands), Range()),
        rows_reused=sum(price.rows_reused for price in summands),
        judge_calls=sum((price.judge_calls for price in summands), Range()),
        judge_calls_reused=sum(price.judge_calls_reused for price in summands),
        tokens=add_ranges(price.tokens for price in summands),
        cost=add_ranges(price.cost for price in summands) if len(currencies) <= 1 else None,
        currency=currencies.pop() if len(currencies) == 1 else None,
    )


class EarlierVersions(Protocol):
    """A function like `Services.earlier_versions`."""

    def __call__(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceContext:
    """What a price is computed from.

    Attributes:
        inputs: What is known about each input.
        head: Returns a folder with the asset's newest version, or None.
        journal: The folder in which a killed run may have left answers.
        earlier_versions: Yields folders of versions whose rows the stage would reuse, newest first; see `Services`.
        counts: The counts of the newest version made with the same judge, or None.
    """

    inputs: Mapping[str, Foreseen]
    head: Callable[[], Path | None]
    journal: Path
    earlier_versions: EarlierVersions
    counts: Mapping[str, int] | None
