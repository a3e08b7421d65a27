"""What a stage would cost, told before it runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from rlaif_dagster.tables import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """At least `min` and at most `max`; `max` is None where no bound can be told."""

    min: float = 0
    max: float | None = 0

    def __add__(self, other: "Range") -> "Range":
        known = self.max is not None and other.max is not None
        return Range(min=self.min + other.min, max=(self.max or 0) + (other.max or 0) if known else None)

    def cover(self, other: "Range") -> "Range":
        """The range that holds both."""
        known = self.max is not None and other.max is not None
        return Range(min=min(self.min, other.min), max=max(self.max or 0, other.max or 0) if known else None)

    def scale(self, factor: float) -> "Range":
        """The range of the quantity times a factor."""
        return Range(min=self.min * factor, max=None if self.max is None else self.max * factor)


UNKNOWN: Final = Range(min=0, max=None)
"""An amount of which nothing is known."""


def add_ranges(ranges: Iterable[Range | None]) -> Range | None:
    """The range of a sum; None if one of the summands is not known."""
    total = Range()
    for summand in ranges:
        if summand is None:
            return None
        total += summand
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Foreseen:
    """What is known of a version before it is made.

    Attributes:
        digest: Its content digest, where that is certain.
        open: Gives a folder with its files, or None where they are not at hand.
        rows: Where there are no files yet: the rows that it will have. A value is None where it is yet to be made.
    """

    digest: str | None = None
    open: Callable[[], Path | None] = lambda: None
    rows: tuple[Row, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a stage spends.

    Attributes:
        rows_sampled: Responses to be sampled.
        rows_reused: Responses taken from earlier versions.
        judge_calls: Verdicts to be asked.
        judge_calls_reused: Verdicts that certainly need not be asked, since an earlier version has them.
        tokens: What the judges read and write, or None where nothing tells; see `graph.fees`.
        cost: The judges' fees, or None where nothing tells.
        currency: Of the fees; None where there are none.
        output: What is known of the output: if whatever is made again comes out as it was, and if it does not.
            None where the first is the version that there is, and the second is unknown.
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
"""The price of what runs no model and asks no judge."""


def add_prices(prices: Iterable[Price]) -> Price:
    """What several spend together; fees in several currencies have no sum. What is known of outputs is left out."""
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
    """As `Services.earlier_versions`."""

    def __call__(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceContext:
    """What a price is reckoned from.

    Attributes:
        inputs: What is known of each input.
        head: Gives a folder with the asset's newest version, or None.
        journal: The folder in which a run that was killed may have left answers.
        earlier_versions: Yields folders of versions whose rows the stage would reuse, newest first; see `Services`.
        counts: What the newest version for which the same judge was asked counted, or None.
    """

    inputs: Mapping[str, Foreseen]
    head: Callable[[], Path | None]
    journal: Path
    earlier_versions: EarlierVersions
    counts: Mapping[str, int] | None
