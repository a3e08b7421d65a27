"""The call engine against servers with few slots and with many: how near it comes to the ideal, without repeats.

Each row is the path of the asset `judgements` with `concurrency: 64` (256 for 256 slots): a fresh process asks a real
HTTP server on this machine, which works on so many calls at once, for so long each, and keeps the others in a queue
that none leaves. Ideal is calls x seconds / slots. Fast servers spread their time by a half, and a bare aiohttp loop is
measured beside the engine, in turns. The figures are medians of several repeats, with their range.
"""

import statistics
from typing import Final, Literal, NamedTuple

from benchmarks.judging_engine import measure

SMALL_TEST: Final = (
    "tests/serving/test_engine.py::test_no_call_is_sent_again_into_the_queue_that_the_engine_made"
)
REPEATS: Final = 5


class Case(NamedTuple):
    """A server, how many calls it is asked, and the most that the engine may take, in ideal times."""

    slots: int
    seconds: float
    spread: float
    calls: int
    most: float


CASES: Final = (
    Case(slots=1, seconds=2.0, spread=0.0, calls=90, most=1.15),
    Case(slots=4, seconds=1.0, spread=0.0, calls=240, most=1.15),
    Case(slots=16, seconds=0.3, spread=0.0, calls=3000, most=1.15),
    Case(slots=64, seconds=0.1, spread=0.5, calls=4000, most=1.04),
    Case(slots=256, seconds=0.1, spread=0.5, calls=4000, most=1.13),
)


def prove() -> list[dict[str, str]]:
    """Asks each server; raises where the engine takes longer than it may, or sends a call twice."""
    return [_prove_case(case) for case in CASES]


def _prove_case(case: Case) -> dict[str, str]:
    is_fast = case.slots >= 64  # noqa: PLR2004 - where the loop itself takes the time
    ways: tuple[Literal["engine", "bare"], ...] = ("engine", "bare") if is_fast else ("engine",)
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    repeated = 0
    for _ in range(REPEATS if is_fast else 1):
        for way in ways:
            found = measure(
                way,
                case.calls,
                max(64, case.slots),
                latency=case.seconds,
                spread=case.spread,
                slots=case.slots,
            )
            ratios[way].append(found["seconds"] * case.slots / case.calls / case.seconds)
            repeated += int(found["requests"]) - case.calls
    median = statistics.median(ratios["engine"])
    if median > case.most or repeated:
        raise RuntimeError(
            f"{case.slots} slots of {case.seconds} s: {median:.3f} of the ideal time, and {case.most} is allowed; "
            f"{repeated} requests were sent again"
        )
    return {
        "slots": str(case.slots),
        "seconds a call": f"{case.seconds:g}",
        "calls": f"{case.calls:,}",
        "time / ideal": _describe(ratios["engine"]),
        "at most": f"{case.most}",
        "bare loop": _describe(ratios["bare"]) if is_fast else "",
        "requests sent again": str(repeated),
    }


def _describe(ratios: list[float]) -> str:
    """The median, and the range of several."""
    median = f"{statistics.median(ratios):.3f}"
    return median if len(ratios) == 1 else f"{median} ({min(ratios):.3f} to {max(ratios):.3f})"
