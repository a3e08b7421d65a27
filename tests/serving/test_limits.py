"""The laws of window, pace and budget, in a time of the tests' own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.serving.limits import Budget, Pace, Spend, Window
from rlaif_dagster.serving.settings import BudgetSettings, PriceSettings


def answer_round(window: Window, capacity: int) -> None:
    """One round trip: as many calls as the window holds; the server refuses those beyond its capacity."""
    for place in range(window.size):
        if place < capacity:
            window.widen()
        else:
            window.narrow()


def test_the_window_doubles_in_each_round_trip_until_the_limit() -> None:
    window = Window(1000)
    sizes = []
    for _ in range(4):
        sizes.append(window.size)
        answer_round(window, 10**6)
    assert sizes == [256, 512, 1000, 1000]


@pytest.mark.parametrize(("limit", "first"), [(8, 8), (64, 64), (256, 256), (4096, 256)])
def test_the_window_begins_with_the_limit_and_256_at_most(limit: int, first: int) -> None:
    assert Window(limit).size == first


def test_a_round_trip_of_refusals_halves_the_window_and_one_of_answers_adds_one_call() -> None:
    window = Window(200)
    while window.size < 200:
        answer_round(window, 10**6)
    answer_round(window, 0)
    assert window.size == 100
    answer_round(window, 0)
    assert window.size == 50
    for _ in range(10):
        answer_round(window, 10**6)
    assert 59 <= window.size <= 60


def test_few_refusals_take_little_and_one_place_is_always_left() -> None:
    window = Window(32)
    window.narrow()
    assert window.size == 31
    for _ in range(1000):
        window.narrow()
    assert window.size == 1


@pytest.mark.parametrize("capacity", [1, 3, 20, 75, 300])
def test_the_window_finds_the_servers_capacity_and_stays_there(capacity: int) -> None:
    window = Window(256)
    for _ in range(300):
        answer_round(window, capacity)
    expected = min(capacity, 256)
    for _ in range(100):
        answer_round(window, capacity)
        assert 0.9 * expected - 1 <= window.size <= expected + 2


@pytest.mark.parametrize("limit", [1, 2, 31])
def test_the_window_never_holds_more_than_the_limit(limit: int) -> None:
    window = Window(limit)
    assert window.size == limit
    window.widen()
    assert window.size == limit


@given(
    st.floats(min_value=1, max_value=1e4),
    st.lists(st.tuples(st.floats(min_value=0, max_value=5), st.integers(1, 50)), min_size=1, max_size=200),
)
def test_no_minute_holds_more_than_the_rate_and_one_booking(
    rate: float, bookings: list[tuple[float, int]]
) -> None:
    pace = Pace(rate)
    now = 0.0
    starts = []
    for gap, amount in bookings:
        now += gap
        delay = pace.book(amount, now)
        assert delay >= 0
        starts.append((now + delay, amount))
    for start, _ in starts:
        inside = [amount for other, amount in starts if start <= other < start + 60]
        assert sum(inside[:-1]) <= rate * (1 + 1e-9)


def test_a_pace_spreads_evenly_gives_back_what_was_not_used_and_without_a_rate_never_waits() -> None:
    pace = Pace(60)
    assert [pace.book(1, 100.0) for _ in range(3)] == [0, 1, 2]
    pace.correct(-2)
    assert pace.book(1, 100.0) == 1
    assert pace.book(1, 200.0) == 0
    assert {Pace(None).book(10**9, 0.0) for _ in range(9)} == {0.0}


PRICE = PriceSettings(input_per_million=2.0, output_per_million=8.0)


def test_a_call_costs_its_tokens_at_their_prices() -> None:
    """1,000 read at 2 a million and 500 written at 8 a million: 0.002 + 0.004."""
    assert Spend.of_call(1000, 500, PRICE) == Spend(calls=1, tokens=1500, cost=0.006)
    assert Spend.of_call(1000, 500, None).cost == 0.0


@pytest.mark.parametrize("limit", [{"calls": 3}, {"tokens": 3 * 1500}, {"cost": 0.0181}])
def test_a_reservation_that_does_not_fit_is_refused_and_takes_nothing(limit: dict[str, float]) -> None:
    budget = Budget(BudgetSettings.model_validate(limit))
    most = Spend.of_call(1000, 500, PRICE)
    assert [budget.reserve(most) for _ in range(5)] == [True] * 3 + [False] * 2
    budget.settle(most, Spend())  # turned away: it took nothing
    assert [budget.reserve(most) for _ in range(2)] == [True, False]


@given(
    st.integers(1, 50), st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1), st.booleans()), max_size=100)
)
def test_what_is_spent_never_exceeds_the_budget(limit: int, calls: list[tuple[int, float, bool]]) -> None:
    budget = Budget(BudgetSettings(tokens=limit))
    under_way: list[tuple[Spend, Spend]] = []
    for most_tokens, share, ends_one in calls:
        most = Spend(calls=1, tokens=most_tokens)
        if budget.reserve(most):
            under_way.append((most, Spend(calls=1, tokens=int(most_tokens * share))))
        if ends_one and under_way:
            budget.settle(*under_way.pop(0))
        assert budget.spent.tokens <= limit
    for most, used in under_way:
        budget.settle(most, used)
    assert budget.spent.tokens <= limit
