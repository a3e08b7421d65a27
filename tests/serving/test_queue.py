"""Window and patience against simulated servers with slots, in a time of the tests' own."""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from rlaif_dagster.serving.limits import Window
from rlaif_dagster.serving.patience import Patience

LIMIT = 64


@dataclass(slots=True, kw_only=True)
class Run:
    """What became of calls.

    Attributes:
        seconds: How long they took.
        sizes: The window after each answer.
        num_late: Attempts whose time was over.
    """

    seconds: float
    sizes: list[int]
    num_late: int


def simulate(
    num_calls: int,
    *,
    slots: Callable[[float], float],
    draw: Callable[[int, float], float],
    limit: int = LIMIT,
    timeout: float = 60.0,
) -> Run:
    """Has calls answered by a server that takes them in their order.

    Args:
        num_calls: How many.
        slots: How many the server works on at once, by the time.
        draw: The seconds that a call takes, by its number and the time.
        limit: Most calls under way.
        timeout: The time limit of an attempt.
    """
    window, patience = Window(limit), Patience(timeout)
    queue: deque[int] = deque()
    working: list[tuple[float, int]] = []
    under_way: dict[int, int] = {}
    run, now, next_number, num_answered = Run(seconds=0.0, sizes=[], num_late=0), 0.0, 0, 0
    while num_answered < num_calls:
        while next_number < num_calls and len(under_way) < window.size:
            under_way[next_number] = patience.start(next_number, now)
            queue.append(next_number)
            next_number += 1
        while queue and len(working) < slots(now):
            number = queue.popleft()
            heapq.heappush(working, (now + draw(number, now), number))
        now, number = heapq.heappop(working)
        run.num_late += len(patience.find_late(now))
        seconds = patience.end_by_reply(number, now, is_answer=True)
        window.widen()
        window.end(number, next_number=next_number, under_way=under_way.pop(number), seconds=seconds)
        run.sizes.append(window.size)
        num_answered += 1
    run.seconds = now
    return run


def spread_widely(number: int, _: float) -> float:
    """A second in the mean; one in a hundred takes seven times as long."""
    return math.exp(random.Random(number).gauss(0.0, 0.8)) / math.exp(0.32)  # noqa: S311


@pytest.mark.parametrize(("slots", "seconds"), [(1, 2.0), (4, 1.0), (16, 0.3), (1, 50.0)])
@pytest.mark.parametrize("is_spread", [False, True])
def test_a_slow_server_is_never_idle_and_no_attempt_is_late(
    slots: int, seconds: float, is_spread: bool
) -> None:
    """Though a call may stand in the queue for longer than the time limit: 64 x 50 s at the worst."""

    def draw(number: int, now: float) -> float:
        return seconds * (0.5 + random.Random(number).random() if is_spread else 1.0)  # noqa: S311

    num_calls = 100 * slots
    run = simulate(num_calls, slots=lambda _: slots, draw=draw, timeout=80.0)
    work = math.fsum(draw(number, 0.0) for number in range(num_calls)) / slots
    assert run.seconds <= 1.02 * work + 2 * seconds
    assert run.num_late == 0


@pytest.mark.parametrize(("slots", "seconds"), [(1, 2.0), (4, 1.0), (16, 0.3)])
def test_the_window_is_narrowed_to_what_a_slow_server_works_on(slots: int, seconds: float) -> None:
    run = simulate(1000, slots=lambda _: slots, draw=lambda number, now: seconds)
    assert max(run.sizes[150:]) <= 40
    assert min(run.sizes) >= slots


@pytest.mark.parametrize("draw", [lambda number, now: 0.1, spread_widely])
@pytest.mark.parametrize("limit", [16, 64, 256])
def test_a_server_with_room_for_all_is_asked_all_the_time(
    draw: Callable[[int, float], float], limit: int
) -> None:
    """Whether calls take the same time each or not: a slow one is no queue."""
    run = simulate(40 * limit, slots=lambda _: math.inf, draw=draw, limit=limit)
    assert sum(run.sizes) >= 0.97 * limit * len(run.sizes)


def test_calls_that_take_longer_from_some_time_on_are_no_queue() -> None:
    """The window is narrowed once, latency stays, and the window is as before."""
    run = simulate(
        6000, slots=lambda _: math.inf, draw=lambda number, now: 1.0 if number < 3000 else 5.0, limit=LIMIT
    )
    assert min(run.sizes) < LIMIT
    assert run.sizes[-1] == LIMIT
    assert sum(run.sizes) >= 0.95 * LIMIT * len(run.sizes)


def test_a_server_that_gives_others_its_slots_is_asked_less() -> None:
    run = simulate(6000, slots=lambda now: 64 if now < 40 else 8, draw=lambda number, now: 1.0)
    assert max(run.sizes[-1000:]) <= 40


def test_a_call_in_a_queue_is_not_late_and_one_that_hangs_is() -> None:
    """One slot, 2 s a call, a limit of 5 s: the third waits 6 s and is answered; the fourth hangs from second 6 on."""
    patience = Patience(5.0)
    for number in range(4):
        assert patience.start(number, 0.0) == number + 1
    for number in range(3):
        now = 2.0 * (number + 1)
        assert patience.find_late(now) == []
        assert patience.end_by_reply(number, now, is_answer=True) == now
    assert patience.find_late(11.0) == []
    assert patience.find_late(11.1) == [3]
    assert not patience.is_silent(3)


def test_replies_to_later_calls_give_no_time() -> None:
    patience = Patience(5.0)
    patience.start(0, 0.0)
    patience.start(1, 1.0)
    patience.end_by_reply(1, 4.0, is_answer=False)
    assert patience.find_late(5.1) == [0]


def test_a_call_that_was_late_has_twice_the_time_and_four_times_at_most() -> None:
    patience = Patience(5.0)
    for number in range(5):
        patience.start(number, 0.0, num_late=number)
    assert [patience.allow(number) for number in range(5)] == [5.0, 10.0, 20.0, 20.0, 20.0]
    assert patience.find_late(10.1) == [0, 1]
    assert all(map(patience.is_silent, range(5)))


def test_an_answer_that_took_more_than_half_of_the_limit_raises_it() -> None:
    patience = Patience(5.0)
    for number, seconds in enumerate((2.0, 4.0, 1.0)):
        patience.start(number, 10.0 * number)
        patience.end_by_reply(number, 10.0 * number + seconds, is_answer=True)
    assert patience.seconds == 8.0


def test_a_silent_server_is_asked_one_call_at_a_time_and_then_twice_as_many_up_to_half_of_before() -> None:
    window = Window(LIMIT)
    window.close()
    window.close()
    assert window.size == 1
    sizes = []
    for _ in range(6):
        sizes.append(window.size)
        for _ in range(window.size):
            window.widen()
    assert sizes == [1, 2, 4, 8, 16, 32]
    assert 32 <= window.size <= 33
