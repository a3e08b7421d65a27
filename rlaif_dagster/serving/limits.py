"""Limits how much a server is asked at once, per minute, and in total; time is an argument."""

from dataclasses import dataclass
from typing import Final

from rlaif_dagster.serving.settings import BudgetSettings, PriceSettings

FIRST_CALLS: Final = 32
FIRST_SHARE: Final = 1 / 4
"""Before the first answer, this many calls, or this share of the limit if that is more, are in flight."""


class Window:
    """How many calls may be in flight, learned from the server's replies.

    Slow start: each answer allows one more call, so that the window doubles in each round trip, until the server first
    refuses a call as too much (HTTP 429). From then on the window grows by one call per round trip (additive increase),
    and each refused call takes away half a place: a round trip in which all are refused halves the window, one in which
    few are refused reduces it little (multiplicative decrease in proportion to the share refused; Alizadeh et al. 2010,
    "Data Center TCP"). No other fault changes it.
    """

    def __init__(self, limit: int) -> None:
        """Makes a small window.

        Args:
            limit: The most calls in flight.
        """
        self._limit = limit
        self._size = float(min(limit, max(FIRST_CALLS, int(limit * FIRST_SHARE))))
        self._was_refused = False

    @property
    def size(self) -> int:
        """How many calls may be in flight, at least 1."""
        return int(self._size)

    def widen(self) -> None:
        """Records an answer."""
        self._size = min(self._limit, self._size + (1 / self._size if self._was_refused else 1))

    def narrow(self) -> None:
        """Records a refusal."""
        self._was_refused = True
        self._size = max(1.0, self._size - 0.5)


class Pace:
    """Spreads an amount evenly over time (a leaky bucket): each booking starts when those before it have drained."""

    def __init__(self, per_minute: float | None) -> None:
        """Makes a pace; None sets no limit."""
        self._seconds_each = 0.0 if per_minute is None else 60.0 / per_minute
        self._free_at = 0.0

    def book(self, amount: float, now: float) -> float:
        """Books an amount; returns how many seconds from now it may start."""
        start = max(now, self._free_at)
        self._free_at = start + amount * self._seconds_each
        return start - now

    def correct(self, amount: float) -> None:
        """Adds to what was booked, or subtracts what was not used."""
        self._free_at += amount * self._seconds_each


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What calls cost: requests, tokens read and written, and money."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    @classmethod
    def of_call(cls, input_tokens: int, output_tokens: int, price: PriceSettings | None) -> "Spend":
        """Makes the spend of one request."""
        cost = price.find_cost(input_tokens, output_tokens) if price else 0.0
        return cls(calls=1, tokens=input_tokens + output_tokens, cost=cost)


class Budget:
    """What may be spent: a request is made only if the most that it can cost is within the budget.

    What a request can cost is reserved before it is sent, and corrected when the server says what it used. A request
    of unknown fate (no answer in time, a broken connection) may have been billed: its reservation stays.
    """

    def __init__(self, settings: BudgetSettings) -> None:
        """Makes a budget."""
        self._limits = settings
        self._reserved = Spend()
        self.spent = Spend()

    def reserve(self, most: Spend) -> bool:
        """Reserves the most that a request can cost; False if that exceeds the budget."""
        wanted = _add(_add(self.spent, self._reserved), most)
        limits = self._limits
        if (
            (limits.calls is not None and wanted.calls > limits.calls)
            or (limits.tokens is not None and wanted.tokens > limits.tokens)
            or (limits.cost is not None and wanted.cost > limits.cost)
        ):
            return False
        self._reserved = _add(self._reserved, most)
        return True

    def settle(self, most: Spend, used: Spend) -> None:
        """Replaces a reservation by what was used."""
        self._reserved = _add(self._reserved, most, sign=-1)
        self.spent = _add(self.spent, used)


def _add(left: Spend, right: Spend, *, sign: int = 1) -> Spend:
    return Spend(
        calls=left.calls + sign * right.calls,
        tokens=left.tokens + sign * right.tokens,
        cost=left.cost + sign * right.cost,
    )
