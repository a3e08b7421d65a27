"""Ends a command that Ctrl-C or SIGTERM stops, with one sentence and the exit code that shells expect."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import typer
from typer.core import TyperGroup

_SIGNAL_EXIT: Final = 128


class StoppableCommands(TyperGroup):
    """Commands of which each can be stopped at any moment."""

    keeping: ClassVar[frozenset[str]] = frozenset()
    """Commands that keep finished work, so that the same command continues from there."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; prints one sentence if it is stopped.

        Raises:
            Exit: With 130 after Ctrl-C, and 143 after SIGTERM.
        """
        if threading.current_thread() is not threading.main_thread():
            return super().invoke(ctx)  # signals reach only the main thread
        with _watched_signals() as received:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                _end_at_once_from_now_on()
                sentence = "stopped"
                if ctx.invoked_subcommand in self.keeping:
                    sentence += "; finished work is kept, and the next run continues from there"
                print(sentence, file=sys.stderr)  # noqa: T201 - the command's own error stream
                number = signal.SIGTERM if signal.SIGTERM in received.read() else signal.SIGINT
                raise typer.Exit(_SIGNAL_EXIT + number) from None


def stop_if_asked() -> None:
    """Stops work that continues after a signal: some libraries have a bare `except` that hides the interrupt.

    Raises:
        KeyboardInterrupt: If Ctrl-C or SIGTERM was received.
    """
    received = _RECEIVED.get()
    if received is not None and received.read():
        raise KeyboardInterrupt


@dataclass(slots=True)
class _Received:
    """The received signals, by number."""

    reader: int
    numbers: set[int] = field(default_factory=set)

    def read(self) -> set[int]:
        with suppress(BlockingIOError):
            self.numbers.update({signal.SIGINT, signal.SIGTERM}.intersection(os.read(self.reader, 4096)))
        return self.numbers


_RECEIVED: Final[ContextVar[_Received | None]] = ContextVar("received", default=None)


def _leave_signals_to_the_system() -> None:
    """Restores default signal handling in a forked child, so that a SIGTERM ends it without a traceback."""
    if _RECEIVED.get() is not None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_signals_to_the_system)


@contextmanager
def _watched_signals() -> Iterator[_Received]:
    """Makes SIGTERM interrupt as Ctrl-C does; yields the received signals.

    The interpreter writes signal numbers to a pipe, because Dagster replaces all signal handlers during a run, and its
    own do not distinguish the signals.
    """
    reader, writer = os.pipe()
    for descriptor in (reader, writer):
        os.set_blocking(descriptor, False)
    received = _Received(reader)
    token = _RECEIVED.set(received)
    earlier_pipe = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, earlier)
        signal.set_wakeup_fd(earlier_pipe)
        _RECEIVED.reset(token)
        os.close(reader)
        os.close(writer)


def _end_at_once_from_now_on() -> None:
    """Leaves a second Ctrl-C to the system: an interrupt while the interpreter exits would only print a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
