"""The call engine: keeps as many calls in flight as the server can take, and none that cannot succeed.

Workers make attempts on an event loop, which runs until one ends. An attempt starts when the window has a free place,
the pace allows it and the budget covers the most that it can cost. After a temporary fault it is tried again; the
waiting time doubles, with jitter. A call that the server refused as too much, or did not answer in time, keeps its
place in the window while it waits. So a server that refuses everything gets few requests, and one that refuses few
calls is not slowed down. Calls are read as places become free, and answers are handed on as they come: memory does not
grow with the number of calls.

**Time.** An attempt's time starts when it is sent, or at the last reply to an attempt that was sent before it: until
then it may be in the server's queue. A call in a queue is not lost, and is not sent again. So the time limit bounds the
server's time for one call, not for all calls before it.

**First calls.** At the very start only a few calls are sent at a time, because a server that refuses something that
every call has refuses it at once. If no call has been answered yet, such a refusal reduces the engine to one call at a
time, and a few refusals stop it.

Known trade-offs (accepted): the cost of a cancelled or timed-out request is unknown, and counts as the most that it can
be; while answers are being stored, no reply is read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from rlaif_dagster.errors import BudgetError, JudgeError
from rlaif_dagster.seeds import SEED_BITS, derive_seed
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatOutcome, ChatReply
from rlaif_dagster.serving.client import Client
from rlaif_dagster.serving.exchange import Exchange, Request
from rlaif_dagster.serving.faults import Fault
from rlaif_dagster.serving.limits import Budget, Pace, Spend, Window
from rlaif_dagster.serving.patience import Patience
from rlaif_dagster.serving.replies import NO_USAGE, Usage
from rlaif_dagster.serving.settings import LimitSettings, PriceSettings

FIRST_WAIT_SECONDS: Final = 1.0
"""The wait before the second attempt; doubles with each further one."""
LONGEST_WAIT_SECONDS: Final = 60.0
LONGEST_ASKED_WAIT_SECONDS: Final = 600.0
"""The longest wait that a server can ask for; a longer one ends the pass."""
SILENT_CALLS: Final = 100
"""How many calls in a row may fail before the server counts as down."""
FATAL_REPLIES: Final = 3
"""How many replies in a row must say that no call can be answered, if calls were answered before."""
FIRST_AT_ONCE: Final = 4
"""Calls in flight in the first `FIRST_SECONDS`, unless one is answered; then four times as many every 5 ms."""
FIRST_SECONDS: Final = 0.02
GATHER_SECONDS: Final = 0.01
"""Answers that come within it are handed on together."""
LOOKS: Final = 20
"""How many times within the time limit the engine looks for late attempts."""


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A call between its first attempt and its answer.

    Attributes:
        request: The call.
        most: The most that an attempt can cost.
        num_made: Number of attempts made.
        num_late: Number of attempts that were not answered in time.
        usage: What earlier attempts used, by the server's own count.
    """

    request: Request
    most: Spend
    num_made: int = 0
    num_late: int = 0
    usage: Usage = NO_USAGE


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
        self._scopes: dict[int, asyncio.Timeout] = {}
        self._next_number = 0
        self._patience = Patience(limits.timeout_seconds)
        self._paused = 0.0
        self._num_opened = FIRST_AT_ONCE
        self._num_under_way = 0
        self._num_waiting = 0
        self._num_held = 0
        self._finished: list[ChatOutcome] = []
        self._is_idle = self._is_handing_on = False
        self._stopping = asyncio.Event()
        self._was_heard = self._has_answered = False
        self._num_failed = self._num_alike = 0
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
            watch = loop.create_task(self._watch())
            self._workers.add(watch)
            watch.add_done_callback(self._end)
            loop.call_later(FIRST_SECONDS, self._open_up)
            while True:
                self._fill()
                self._is_handing_on = False
                if self._finished:
                    finished, self._finished = self._finished, []
                    paused_at = time.monotonic()
                    yield finished
                    self._paused += time.monotonic() - paused_at
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

    def _fill(self) -> None:
        """Starts as many workers as there is room for."""
        while claim := self._claim():
            task = self._loop.create_task(self._work(claim))
            self._workers.add(task)
            task.add_done_callback(self._end)

    async def _work(self, claim: _Claim | None) -> None:
        """Makes one attempt after the other, as long as limits allow."""
        while claim is not None:
            await self._make(claim)
            self._num_under_way -= 1
            claim = self._claim()
            if claim is not None:
                self._fill()
            self._hand_on()

    def _claim(self) -> _Claim | None:
        """Reserves the next attempt, if limits allow one."""
        if self._stopped is not None or self._num_under_way + self._num_held >= self._find_room():
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

    def _find_room(self) -> int:
        """Finds how many calls may be in flight."""
        if self._has_answered:
            return self._window.size
        return 1 if self._num_alike else min(self._num_opened, self._window.size)

    def _open_up(self) -> None:
        self._num_opened *= 4
        if not self._has_answered and self._num_opened < self._window.size:
            self._loop.call_later(0.005, self._open_up)
        self._wake_up()

    def _tell_time(self) -> float:
        """Returns the seconds in which replies could be read."""
        return time.monotonic() - self._paused

    async def _watch(self) -> None:
        """Ends attempts that exceeded their time limit."""
        while True:
            await asyncio.sleep(self._patience.seconds / LOOKS)
            for number in self._patience.find_late(self._tell_time()):
                self._scopes[number].reschedule(self._loop.time())

    def _take(self) -> _Attempt | None:
        if self._ready:
            return self._ready.popleft()
        num_taken = self._num_under_way + self._num_waiting + len(self._finished)
        if num_taken >= 2 * self._limits.concurrency:
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
        number, self._next_number = self._next_number, self._next_number + 1
        under_way = self._patience.start(number, self._tell_time(), num_late=attempt.num_late)
        is_silent = False
        try:
            async with asyncio.timeout(None) as self._scopes[number]:
                outcome = await self._client.send(attempt.request)
        except TimeoutError:
            is_silent = self._patience.is_silent(number)
            outcome = self._find_late(self._patience.allow(number))
        finally:
            del self._scopes[number]
        seconds = None
        if isinstance(outcome, Fault) and outcome.kind in ("silent", "late"):
            self._patience.end(number)
        else:
            is_answer = not isinstance(outcome, Fault)
            taken = self._patience.end_by_reply(number, self._tell_time(), is_answer=is_answer)
            seconds = taken if is_answer else None
        self._window.end(number, next_number=self._next_number, under_way=under_way, seconds=seconds)
        if is_silent:
            self._window.close()
        if isinstance(outcome, Fault):
            self._take_fault(attempt, outcome, foreseen)
        else:
            self._take_outcome(attempt, outcome, foreseen)

    def _find_late(self, seconds: float) -> Fault:
        return Fault(
            kind="late",
            reason=f"no answer within {seconds:g} s",
            remedy=f"{self._exchange.remedies.connection}; a slow server needs more limits.timeout_seconds",
            is_spent=True,
        )

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

    def _hand_on(self) -> None:
        """Has answers handed on soon, together with others: keeping them one by one would take longer than asking."""
        if not self._num_under_way or len(self._finished) >= self._limits.concurrency:
            self._wake_up()
        elif not self._is_handing_on:
            self._is_handing_on = True
            self._loop.call_later(GATHER_SECONDS, self._wake_up)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = error
            self._wake_up()

    def _take_outcome(self, attempt: _Attempt, outcome: ChatOutcome, foreseen: float) -> None:
        self._was_heard = self._has_answered = True
        self._num_failed = self._num_alike = 0
        self._window.widen()
        usage = Usage(prompt_tokens=outcome.prompt_tokens, completion_tokens=outcome.completion_tokens)
        used = self._count(usage)
        if used is not None:
            self._num_counted += used.tokens
            self._num_reserved += attempt.most.tokens
            self._token_pace.correct(used.tokens - foreseen)
        # A reply without a token count may have used the most; a refusal without one used nothing.
        unknown = attempt.most if isinstance(outcome, ChatReply) else Spend()
        self._budget.settle(attempt.most, unknown if used is None else used)
        self._finish(attempt, outcome, usage)

    def _finish(self, attempt: _Attempt, outcome: ChatOutcome, usage: Usage) -> None:
        """Returns an outcome, with what all attempts used."""
        if attempt.usage is not NO_USAGE:
            whole = attempt.usage + usage
            outcome = replace(
                outcome, prompt_tokens=whole.prompt_tokens, completion_tokens=whole.completion_tokens
            )
        self._finished.append(outcome)

    def _count(self, usage: Usage) -> Spend | None:
        """Counts what an attempt used, by the server's own count; None if it does not say."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return Spend.of_call(usage.prompt_tokens, usage.completion_tokens, self._price)

    def _take_fault(self, attempt: _Attempt, fault: Fault, foreseen: float) -> None:
        self._was_heard |= fault.kind not in ("silent", "late")
        used = self._count(fault.usage) or (attempt.most if fault.is_spent else Spend())
        self._budget.settle(attempt.most, used)
        attempt.usage += fault.usage
        if not fault.is_spent:
            self._token_pace.correct(used.tokens - foreseen)
        if fault.kind in ("busy", "late"):
            self._window.narrow()
        if fault.kind == "late":
            attempt.num_late += 1
        if self._is_hopeless(fault):
            self._stop(fault.reason, fault.remedy)
        elif (fault.wait_seconds or 0.0) > LONGEST_ASKED_WAIT_SECONDS:
            self._stop(
                f"the server asks to wait {fault.wait_seconds:.0f} s ({fault.reason})", "wait that long"
            )
        elif fault.kind == "lasting" or attempt.num_made >= self._limits.max_attempts:
            self._fail(attempt, fault)
        else:
            self._wait(attempt, fault)

    def _is_hopeless(self, fault: Fault) -> bool:
        """Whether a fault shows that no call can be answered."""
        if fault.kind == "fatal":
            self._num_alike += 1
            return not self._has_answered or self._num_alike >= FATAL_REPLIES
        if fault.stops_after is None or self._has_answered:
            return False
        self._num_alike += 1
        return self._num_alike >= fault.stops_after

    def _fail(self, attempt: _Attempt, fault: Fault) -> None:
        many = f" (the last of {attempt.num_made} attempts)" if attempt.num_made > 1 else ""
        failure = ChatFailure(call_id=attempt.request.call_id, kind="failed", reason=fault.reason + many)
        self._finish(attempt, failure, NO_USAGE)
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
        is_held = fault.kind in ("busy", "late")
        self._num_waiting += 1
        self._num_held += is_held
        self._loop.call_later(seconds, self._return, attempt, is_held)

    def _return(self, attempt: _Attempt, is_held: bool) -> None:
        self._num_waiting -= 1
        self._num_held -= is_held
        if self._was_heard:
            self._ready.append(attempt)
        else:  # one call that fails in all attempts shows that the server is down
            self._ready.appendleft(attempt)
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
