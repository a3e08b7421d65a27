"""The call engine: keeps as many calls in flight as the server can take, and none that cannot succeed.

Workers make attempts on an event loop, which runs until one ends. An attempt starts when the window has a free place,
the pace allows it and the budget covers the most that it can cost. After a temporary fault it is tried again; the
waiting time doubles, with jitter. A call that the server refused as too much keeps its place in the window while it
waits, so a server that refuses everything gets few requests. Calls are read as places become free, and answers are
returned at once: memory does not grow with the number of calls.

Known trade-offs (accepted): the cost of a cancelled or timed-out request is unknown, and counts as the most that it can
be; while answers are being stored, no reply is read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rlaif_dagster.errors import BudgetError, JudgeError
from rlaif_dagster.seeds import SEED_BITS, derive_seed
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome
from rlaif_dagster.serving.client import Client
from rlaif_dagster.serving.exchange import Exchange, Fault, Request
from rlaif_dagster.serving.limits import Budget, Pace, Spend, Window
from rlaif_dagster.serving.settings import LimitSettings, PriceSettings

FIRST_WAIT_SECONDS: Final = 1.0
"""The wait before the second attempt; doubles with each further one."""
LONGEST_WAIT_SECONDS: Final = 60.0
LONGEST_ASKED_WAIT_SECONDS: Final = 600.0
"""The longest wait that a server can ask for; a longer one ends the pass."""
SILENT_CALLS: Final = 100
"""How many calls in a row may fail before the server counts as down."""


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A call between its first attempt and its answer."""

    request: Request
    most: Spend
    num_made: int = 0


class _Claim(NamedTuple):
    """An attempt that may be made.

    Attributes:
        attempt: The call.
        foreseen: The tokens that it will probably use, estimated from earlier calls.
        delay_seconds: How long to wait before it.
    """

    attempt: _Attempt
    foreseen: float
    delay_seconds: float


class Engine:
    """Answers calls through a client; one engine for one pass over the calls."""

    def __init__(
        self,
        client: Client,
        exchange: Exchange,
        *,
        who: str,
        limits: LimitSettings,
        price: PriceSettings | None,
        budget: Budget,
    ) -> None:
        """Makes an engine.

        Args:
            client: Makes the attempts.
            exchange: Writes the requests.
            who: Whom the engine asks, for messages.
            limits: The limits of requests.
            price: What tokens cost.
            budget: What may be spent; part of it may be used already.
        """
        self._client = client
        self._exchange = exchange
        self._who = who
        self._limits = limits
        self._price = price
        self._window = Window(limits.concurrency)
        self._request_pace = Pace(limits.requests_per_minute)
        self._token_pace = Pace(limits.tokens_per_minute)
        self._budget = budget
        self._num_counted = self._num_reserved = 1
        self._ready: deque[_Attempt] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._num_under_way = 0
        self._num_waiting = 0
        self._num_held = 0
        self._finished: list[ChatOutcome] = []
        self._is_idle = False
        self._stopping = asyncio.Event()
        self._was_heard = self._has_answered = False
        self._num_failed = 0
        self._stopped: JudgeError | None = None
        self._crash: BaseException | None = None

    def ask(self, calls: Iterable[ChatCall]) -> Generator[list[ChatOutcome], None, None]:
        """Yields one outcome for each call, in groups, as soon as they are known.

        Raises:
            JudgeError: If no call can be answered, after the calls in flight have ended.
            BudgetError: If the next call might exceed the budget, after the calls in flight have ended.
        """
        self._calls = iter(calls)
        loop = self._loop = asyncio.new_event_loop()
        loop.set_exception_handler(self._see_error)
        try:
            loop.run_until_complete(self._client.open())
            while True:
                while claim := self._claim():
                    task = loop.create_task(self._work(claim))
                    self._workers.add(task)
                    task.add_done_callback(self._end)
                if self._finished:
                    finished, self._finished = self._finished, []
                    yield finished
                elif self._crash is not None:
                    raise self._crash
                elif self._num_under_way or (self._num_waiting and not self._stopped):
                    self._is_idle = True
                    loop.run_forever()  # until an attempt ends, or a wait
                    self._is_idle = False
                elif self._stopped:
                    raise self._stopped
                else:
                    return
        finally:
            self._is_idle = False
            loop.run_until_complete(self._close())
            loop.close()

    async def _close(self) -> None:
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._client.close()

    async def _work(self, claim: _Claim | None) -> None:
        """Makes one attempt after the other, as long as limits allow."""
        while claim is not None:
            await self._make(claim)
            self._num_under_way -= 1
            self._wake_up()
            claim = self._claim()

    def _claim(self) -> _Claim | None:
        """Reserves the next attempt, if limits allow one."""
        if self._stopped is not None or self._num_under_way + self._num_held >= self._window.size:
            return None
        attempt = self._take()
        if attempt is None:
            return None
        if not self._budget.reserve(attempt.most):
            self._ready.appendleft(attempt)
            if not self._num_under_way:  # else one in flight may use less than was reserved for it
                self._stop_spending(attempt)
            return None
        self._num_under_way += 1
        foreseen = attempt.most.tokens * self._num_counted / self._num_reserved
        now = time.monotonic()
        delay = max(self._request_pace.book(1, now), self._token_pace.book(foreseen, now))
        return _Claim(attempt, foreseen, delay)

    def _take(self) -> _Attempt | None:
        if self._ready:
            return self._ready.popleft()
        if self._num_under_way + self._num_waiting >= 2 * self._limits.concurrency:
            return None
        call = next(self._calls, None)
        if call is None:
            return None
        request = self._exchange.encode(call)
        most = Spend.of_call(request.most_input_tokens, request.most_output_tokens, self._price)
        return _Attempt(request=request, most=most)

    async def _make(self, claim: _Claim) -> None:
        attempt, foreseen, delay = claim
        if delay > 0 and await self._wait_or_stop(delay):
            self._budget.settle(attempt.most, Spend())
            return
        attempt.num_made += 1
        outcome = await self._client.send(attempt.request)
        if isinstance(outcome, Fault):
            self._take_fault(attempt, outcome, foreseen)
        else:
            self._take_outcome(attempt, outcome, foreseen)

    async def _wait_or_stop(self, delay: float) -> bool:
        """Waits; returns True if the engine was stopped first."""
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _see_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keeps an interruption that arrives during a callback of the loop, which would swallow it."""
        error = context.get("exception")
        if isinstance(error, Exception) or error is None:
            loop.default_exception_handler(context)
        else:
            self._crash = error
            self._wake_up()

    def _wake_up(self) -> None:
        if self._is_idle:
            self._loop.stop()

    def _end(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = error
            self._wake_up()

    def _take_outcome(self, attempt: _Attempt, outcome: ChatOutcome, foreseen: float) -> None:
        self._was_heard = self._has_answered = True
        self._num_failed = 0
        self._window.widen()
        used = self._count(outcome)
        if used is not None:
            self._num_counted += used.tokens
            self._num_reserved += attempt.most.tokens
            self._token_pace.correct(used.tokens - foreseen)
        self._budget.settle(attempt.most, attempt.most if used is None else used)
        self._finished.append(outcome)

    def _count(self, outcome: ChatOutcome) -> Spend | None:
        """Counts what a call used, by the server's own count; None if it does not say."""
        if (
            isinstance(outcome, ChatFailure)
            or outcome.prompt_tokens is None
            or outcome.completion_tokens is None
        ):
            return None
        return Spend.of_call(outcome.prompt_tokens, outcome.completion_tokens, self._price)

    def _take_fault(self, attempt: _Attempt, fault: Fault, foreseen: float) -> None:
        self._was_heard |= fault.kind != "silent"
        self._budget.settle(attempt.most, attempt.most if fault.is_spent else Spend())
        if not fault.is_spent:
            self._token_pace.correct(-foreseen)
        if fault.kind == "busy":
            self._window.narrow()
        if fault.kind == "fatal":
            self._stop(fault.reason, fault.remedy)
        elif (fault.wait_seconds or 0.0) > LONGEST_ASKED_WAIT_SECONDS:
            self._stop(
                f"the server asks to wait {fault.wait_seconds:.0f} s ({fault.reason})", "wait that long"
            )
        elif fault.kind == "lasting" or attempt.num_made >= self._limits.max_attempts:
            self._fail(attempt, fault)
        else:
            self._wait(attempt, fault)

    def _fail(self, attempt: _Attempt, fault: Fault) -> None:
        many = f" (the last of {attempt.num_made} attempts)" if attempt.num_made > 1 else ""
        self._finished.append(
            ChatFailure(call_id=attempt.request.call_id, kind="failed", reason=fault.reason + many)
        )
        if fault.kind != "lasting" or not self._has_answered:
            self._num_failed += 1
        if not self._was_heard:
            self._stop(f"the server cannot be reached: {fault.reason}", fault.remedy)
        elif self._num_failed >= SILENT_CALLS:
            self._stop(f"{SILENT_CALLS} calls in a row failed, the last with: {fault.reason}", fault.remedy)

    def _wait(self, attempt: _Attempt, fault: Fault) -> None:
        chance = derive_seed(0, "wait", attempt.request.call_id, attempt.num_made) / 2**SEED_BITS
        doubled = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt.num_made - 1))
        seconds = fault.wait_seconds * (1 + chance / 10) if fault.wait_seconds else doubled * (1 + chance) / 2
        is_held = fault.kind == "busy"
        self._num_waiting += 1
        self._num_held += is_held
        self._loop.call_later(seconds, self._return, attempt, is_held)

    def _return(self, attempt: _Attempt, is_held: bool) -> None:
        self._num_waiting -= 1
        self._num_held -= is_held
        self._ready.append(attempt)
        self._wake_up()

    def _stop(self, reason: str, remedy: str) -> None:
        self._stop_by(
            JudgeError(
                f"{self._who}: {reason}.\n"
                f"  remedy: {remedy}; then run again: answers are kept, and only the rest is asked"
            )
        )

    def _stop_spending(self, attempt: _Attempt) -> None:
        spent, most = self._budget.spent, attempt.most
        self._stop_by(
            BudgetError(
                f"{self._who}: the budget of this run is used up: {self._describe(spent)} so far, and the next "
                f"call may take up to {self._describe(most)}.\n"
                "  remedy: run again to continue with a new budget (answers are kept), or "
                f"{self._exchange.remedies.budget}"
            )
        )

    def _stop_by(self, error: JudgeError) -> None:
        """Stops starting calls; the first reason counts."""
        if self._stopped is None:
            self._stopped = error
            self._stopping.set()

    def _describe(self, spend: Spend) -> str:
        cost = f", {spend.cost:.4f} {self._price.currency}" if self._price else ""
        return f"{spend.calls} call{'s' * (spend.calls != 1)}, {spend.tokens} tokens{cost}"
