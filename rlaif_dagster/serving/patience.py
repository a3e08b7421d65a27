"""Decides how long to wait for an attempt: the server's time for one call, without the calls queued before it."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

MOST_GROWTH: Final = 4
"""The largest factor by which the time limit grows for a call that was late before."""
LONGEST_SECONDS: Final = 3600.0
"""The longest time limit, however long a server's answers take."""


@dataclass(slots=True, kw_only=True)
class _Wait:
    sent_at: float
    runs_from: float
    num_late: int


class Patience:
    """Times attempts, which are numbered in the order in which they are sent.

    An attempt's time starts when it is sent, or at the last reply to an attempt that was sent before it: until then it
    may be in the server's queue, and a call in a queue is not lost. So a server that takes calls in order, with any
    number of slots, has the time limit for each call, however many are in flight. An attempt at a call that was late
    before has twice the time. An answer that took more than half of the limit raises the limit.
    """

    def __init__(self, seconds: float) -> None:
        """Makes a timer with a time limit."""
        self.seconds = seconds
        self._waits: dict[int, _Wait] = {}
        self._replied: list[tuple[int, float]] = []
        self._heard_at = -math.inf

    def start(self, number: int, now: float, *, num_late: int = 0) -> int:
        """Records that an attempt is sent; returns how many are in flight, including it.

        Args:
            number: Its number.
            now: The time.
            num_late: Number of late attempts at the same call.
        """
        self._waits[number] = _Wait(sent_at=now, runs_from=now, num_late=num_late)
        return len(self._waits)

    def end(self, number: int) -> None:
        """Records that an attempt ended without a reply."""
        del self._waits[number]

    def end_by_reply(self, number: int, now: float, *, is_answer: bool) -> float:
        """Records a reply to an attempt; returns the seconds since it was sent."""
        wait = self._waits.pop(number)
        self._heard_at = now
        self._replied.append((number, now))
        if is_answer:
            self.seconds = min(LONGEST_SECONDS, max(self.seconds, 2 * (now - wait.runs_from)))
        return now - wait.sent_at

    def is_silent(self, number: int) -> bool:
        """Whether the server has sent no reply since an attempt was sent."""
        return self._heard_at < self._waits[number].sent_at

    def allow(self, number: int) -> float:
        """Returns the time limit of an attempt, in seconds."""
        return self.seconds * float(min(MOST_GROWTH, 2 ** self._waits[number].num_late))

    def find_late(self, now: float) -> list[int]:
        """Finds the attempts in flight that exceeded their time limit."""
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
