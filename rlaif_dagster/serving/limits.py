"""Limits how much a server is asked at once, per minute, and in total; time is an argument."""

from dataclasses import dataclass
from typing import Final

from rlaif_dagster.serving.settings import BudgetSettings, PriceSettings

FIRST_CALLS: Final = 256
"""The most calls in flight before the server has answered any."""
MOST_SLOWER: Final = 2.0
"""Latency up to this factor of the usual one shows no long queue: the server works on half of the calls in flight."""
SLOW_ROUNDS: Final = 2
"""How many slow rounds in a row are not a coincidence."""
SHORTEST_ROUND: Final = 16
"""How many attempts are measured together; a quarter of the window, if that is more."""
ROUND_SHARE: Final = 0.9
"""The share of its attempts that ends a round: the others may hang."""
HEADROOM: Final = 1.5
"""The window relative to what the server works on: too narrow a window costs time, a short queue costs nothing."""


class Window:
    """How many calls may be in flight, learned from the server's replies and their latency.

    It starts at the limit (at `FIRST_CALLS`, if that is less, and then doubles in each round trip).

    - A call that is refused as too much (HTTP 429, 503, 529), or not answered in time, takes away half a place. From
      then on the window grows by one call per round trip (additive increase; multiplicative decrease in proportion to
      the share refused, as in Alizadeh et al. 2010, "Data Center TCP").
    - A server that answers nothing at all gets one call at a time (as in TCP after a timeout). Then the window doubles
      in each round trip, up to half of its earlier size.
    - If calls take much longer than before, they may be in a queue that the window itself made: the window is narrowed
      to what the server works on, estimated from latency (Brakmo and Peterson 1995, "TCP Vegas"). If latency does not
      fall with it, there was no queue and calls just take longer now, so the window gets its earlier size back.
    """

    def __init__(self, limit: int) -> None:
        """Makes a window.

        Args:
            limit: The most calls in flight.
        """
        self._limit = limit
        self._size = float(min(limit, FIRST_CALLS))
        self._doubles_up_to = float(limit)
        self._latency = Latency(self.size)

    @property
    def size(self) -> int:
        """How many calls may be in flight, at least 1."""
        return int(self._size)

    def widen(self) -> None:
        """Records an answer."""
        step = 1.0 if self._size < self._doubles_up_to else 1 / self._size
        self._size = min(self._limit, self._size + step)

    def narrow(self) -> None:
        """Records a call that was refused, or not answered in time."""
        self._size = max(1.0, self._size - 0.5)
        self._doubles_up_to = min(self._doubles_up_to, self._size)

    def close(self) -> None:
        """Records that the server answers nothing."""
        if self._size > 1:
            self._doubles_up_to = max(1.0, self._size / 2)
            self._size = 1.0

    def end(self, number: int, *, next_number: int, under_way: int, seconds: float | None) -> None:
        """Records the end of an attempt; attempts are numbered in the order in which they are sent.

        Args:
            number: The attempt's number.
            next_number: The number of the next attempt.
            under_way: How many attempts were in flight when it was sent, including itself.
            seconds: How long its answer took; None if there was none.
        """
        wanted = self._latency.end(
            number, next_number=next_number, under_way=under_way, seconds=seconds, size=self._size
        )
        if wanted is not None:
            self._size = min(self._limit, max(1.0, wanted))
            self._doubles_up_to = min(self._doubles_up_to, self._size)


class Latency:
    """Detects a queue from latency: in a queue, latency grows in proportion to the calls in flight.

    Attempts are measured in rounds, in the order in which they were sent: the first replies are not typical.
    """

    def __init__(self, size: int) -> None:
        """Makes a detector for a window of this size."""
        self._usual: float | None = None
        self._num_slow = 0
        self._trial: tuple[float, float, float] | None = None  # latency, calls in flight and window before it
        self._begin(0, size)

    def _begin(self, number: int, size: float) -> None:
        self._first, self._length = number, max(SHORTEST_ROUND, int(size / 4))
        self._num_ended = self._num_answered = self._sum_under_way = 0
        self._sum_seconds = 0.0

    def end(
        self, number: int, *, next_number: int, under_way: int, seconds: float | None, size: float
    ) -> float | None:
        """Records the end of an attempt; see `Window.end`. Returns a new size of the window, or None."""
        if not self._first <= number < self._first + self._length:
            return None
        self._num_ended += 1
        if seconds is not None:
            self._num_answered += 1
            self._sum_under_way += under_way
            self._sum_seconds += seconds
        if self._num_ended < ROUND_SHARE * self._length:
            return None
        wanted, first = None, self._first + self._length
        if self._num_answered >= self._num_ended / 2:
            wanted = self._look(
                self._sum_seconds / self._num_answered, self._sum_under_way / self._num_answered, size
            )
        self._begin(first if wanted is None else next_number, size if wanted is None else wanted)
        return wanted

    def _look(self, seconds: float, under_way: float, size: float) -> float | None:
        if self._trial is not None:
            before, under_way_before, size_before = self._trial
            self._trial = None
            in_queue = before * under_way / under_way_before
            if seconds > (before + in_queue) / 2:  # no queue: latency is the same with fewer calls
                self._usual = seconds
                return max(size, size_before)
        if self._usual is None or seconds <= MOST_SLOWER * self._usual:
            self._num_slow = 0
            self._usual = min(seconds, self._usual or seconds)
            return None
        self._num_slow += 1
        if self._num_slow < SLOW_ROUNDS or under_way <= 1:
            return None
        self._num_slow = 0
        self._trial = seconds, under_way, size
        return min(size, HEADROOM * under_way * self._usual / seconds)


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
