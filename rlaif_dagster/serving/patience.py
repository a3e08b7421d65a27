"""How long an attempt is waited for: as long as a server takes for one call, and not for all that stand before it."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

MOST_GROWTH: Final = 4
"""An attempt at a call that was late before is waited for longer, up to so many times as long."""
LONGEST_SECONDS: Final = 3600.0
"""No server is waited for longer, however long its answers take."""


@dataclass(slots=True, kw_only=True)
class _Wait:
    sent_at: float
    runs_from: float
    num_late: int


class Patience:
    """Times attempts, which have numbers in the order in which they are sent.

    An attempt's time runs from when it was sent, or from the last reply to an attempt that was sent before it: until
    then it may stand in a queue, and what stands in a queue is not lost. A server with any number of slots that takes
    calls in their order is so given the time limit for each call, however many are under way. An attempt at a call
    that was late before has twice the time. An answer that took more than half of the limit raises it.
    """

    def __init__(self, seconds: float) -> None:
        """Takes the time limit."""
        self.seconds = seconds
        self._waits: dict[int, _Wait] = {}
        self._replied: list[tuple[int, float]] = []
        self._heard_at = -math.inf

    def start(self, number: int, now: float, *, num_late: int = 0) -> int:
        """Takes note of an attempt that is sent; returns how many are under way with it.

        Args:
            number: Its number.
            now: The time.
            num_late: Attempts at the same call that were late.
        """
        self._waits[number] = _Wait(sent_at=now, runs_from=now, num_late=num_late)
        return len(self._waits)

    def end(self, number: int) -> None:
        """Takes note of an attempt that ended without a reply."""
        del self._waits[number]

    def end_by_reply(self, number: int, now: float, *, is_answer: bool) -> float:
        """Takes note of a reply to an attempt; returns the seconds from its sending."""
        wait = self._waits.pop(number)
        self._heard_at = now
        self._replied.append((number, now))
        if is_answer:
            self.seconds = min(LONGEST_SECONDS, max(self.seconds, 2 * (now - wait.runs_from)))
        return now - wait.sent_at

    def is_silent(self, number: int) -> bool:
        """Whether the server has replied to nothing since an attempt was sent."""
        return self._heard_at < self._waits[number].sent_at

    def allow(self, number: int) -> float:
        """The seconds that an attempt has."""
        return self.seconds * float(min(MOST_GROWTH, 2 ** self._waits[number].num_late))

    def find_late(self, now: float) -> list[int]:
        """The attempts under way whose time is over."""
        replied, self._replied = deque(sorted(self._replied)), []
        last = -math.inf
        late = []
        for number, wait in self._waits.items():  # in the order of sending
            while replied and replied[0][0] < number:
                last = max(last, replied.popleft()[1])
            wait.runs_from = max(wait.runs_from, last)
            if now - wait.runs_from > self.allow(number):
                late.append(number)
        return late
