"""How much a server may be asked at once, in a minute, and in all; time comes in as an argument."""

from dataclasses import dataclass
from typing import Final

from rlaif_dagster.serving.settings import BudgetSettings, PriceSettings

FIRST_CALLS: Final = 256
"""No more calls are under way before the server has answered any."""
MOST_SLOWER: Final = 2.0
"""As many times the usual latency is no sign of a queue that matters: the server works on half of what is under way."""
SLOW_ROUNDS: Final = 2
"""So many slow rounds, one after the other, are no chance."""
SHORTEST_ROUND: Final = 16
"""Attempts whose latency is looked at together; a quarter of the window, if that is more."""
ROUND_SHARE: Final = 0.9
"""So much of a round ends it: the others may hang."""
HEADROOM: Final = 1.5
"""The window, over what the server works on: what is too narrow costs time, and a short queue costs nothing."""


class Window:
    """How many calls may be under way, found out from what the server says and from how long it takes.

    It begins with the limit (with `FIRST_CALLS`, if that is less, and then doubles in each round trip).

    - A call refused as too much (HTTP 429, 503, 529), or not answered in time, takes half a place away; from then on
      each round trip of answers adds one (additive increase; multiplicative decrease in proportion to the share
      refused, as in Alizadeh et al. 2010, "Data Center TCP").
    - A server that answers nothing at all is asked one call at a time (as TCP after a timeout), and the window doubles
      in each round trip of answers up to half of what it was.
    - Where calls take much longer than they did, they may stand in a queue that the window itself made: it is
      narrowed to what the server works on, as latency tells (Brakmo and Peterson 1995, "TCP Vegas"). If latency does
      not fall with it, there was no queue, calls just take longer now, and the window is as before.
    """

    def __init__(self, limit: int) -> None:
        """Takes the limit.

        Args:
            limit: Most calls under way.
        """
        self._limit = limit
        self._size = float(min(limit, FIRST_CALLS))
        self._doubles_up_to = float(limit)
        self._latency = Latency(self.size)

    @property
    def size(self) -> int:
        """How many calls may be under way, at least 1."""
        return int(self._size)

    def widen(self) -> None:
        """Takes note of an answer."""
        step = 1.0 if self._size < self._doubles_up_to else 1 / self._size
        self._size = min(self._limit, self._size + step)

    def narrow(self) -> None:
        """Takes note of a call that was refused, or not answered in time."""
        self._size = max(1.0, self._size - 0.5)
        self._doubles_up_to = min(self._doubles_up_to, self._size)

    def close(self) -> None:
        """Takes note of a server that answers nothing."""
        if self._size > 1:
            self._doubles_up_to = max(1.0, self._size / 2)
            self._size = 1.0

    def end(self, number: int, *, next_number: int, under_way: int, seconds: float | None) -> None:
        """Takes note of the end of an attempt; attempts have numbers in the order in which they are sent.

        Args:
            number: The attempt's.
            next_number: That of the next one to be sent.
            under_way: How many were under way when it was sent, itself among them.
            seconds: How long its answer took; None if there was none.
        """
        wanted = self._latency.end(
            number, next_number=next_number, under_way=under_way, seconds=seconds, size=self._size
        )
        if wanted is not None:
            self._size = min(self._limit, max(1.0, wanted))
            self._doubles_up_to = min(self._doubles_up_to, self._size)


class Latency:
    """Sees a queue by what it does to latency: in a queue, as many calls more take as much longer.

    Attempts are looked at in rounds, in the order in which they were sent: the first that come back are not the mean.
    """

    def __init__(self, size: int) -> None:
        """Takes the window's size."""
        self._usual: float | None = None
        self._num_slow = 0
        self._trial: tuple[float, float, float] | None = None  # latency, calls under way and window before it
        self._begin(0, size)

    def _begin(self, number: int, size: float) -> None:
        self._first, self._length = number, max(SHORTEST_ROUND, int(size / 4))
        self._num_ended = self._num_answered = self._sum_under_way = 0
        self._sum_seconds = 0.0

    def end(
        self, number: int, *, next_number: int, under_way: int, seconds: float | None, size: float
    ) -> float | None:
        """Takes note of the end of an attempt; see `Window.end`. Returns another size of the window, or None."""
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
            if seconds > (before + in_queue) / 2:  # no queue: it takes as long with fewer
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
    """Spreads an amount evenly over time (a leaky bucket): each booking starts when those before it are paid off."""

    def __init__(self, per_minute: float | None) -> None:
        """Takes the rate; None sets no limit."""
        self._seconds_each = 0.0 if per_minute is None else 60.0 / per_minute
        self._free_at = 0.0

    def book(self, amount: float, now: float) -> float:
        """Books an amount; returns how many seconds from now it may start."""
        start = max(now, self._free_at)
        self._free_at = start + amount * self._seconds_each
        return start - now

    def correct(self, amount: float) -> None:
        """Adds to what was booked, or takes off what was booked in vain."""
        self._free_at += amount * self._seconds_each


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What calls cost: requests, tokens read and written, and money."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    @classmethod
    def of_call(cls, input_tokens: int, output_tokens: int, price: PriceSettings | None) -> "Spend":
        """The spend of one request."""
        cost = price.find_cost(input_tokens, output_tokens) if price else 0.0
        return cls(calls=1, tokens=input_tokens + output_tokens, cost=cost)


class Budget:
    """What may be spent: a request is made only if the most that it can cost still fits.

    What a request can cost is reserved before it is sent, and corrected when the server says what it took. A request
    of unknown fate (no answer in time, a broken connection) may have been billed: its reservation stays.
    """

    def __init__(self, settings: BudgetSettings) -> None:
        """Takes the limits."""
        self._limits = settings
        self._reserved = Spend()
        self.spent = Spend()

    def reserve(self, most: Spend) -> bool:
        """Sets aside what a request can cost at most; False if that does not fit."""
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
