"""How a command ends when Ctrl-C or SIGTERM stops it: one sentence, and the exit code that shells expect."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import typer
from typer.core import TyperGroup

KEEPING: Final = frozenset({"run", "canary", "push", "pull", "gc"})
"""Commands whose work is kept as far as it came, so that the same command goes on from there."""
_SIGNAL_EXIT: Final = 128


class StoppableCommands(TyperGroup):
    """The commands of `rlaif`; each can be stopped at any moment."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; where it is stopped, says so in one sentence.

        Raises:
            Exit: With 130 after Ctrl-C, and 143 after SIGTERM.
        """
        with _watched_signals() as received:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                _end_at_once_from_now_on()
                sentence = "stopped"
                if ctx.invoked_subcommand in KEEPING:
                    sentence += "; what was finished is kept, and the next run goes on from there"
                print(sentence, file=sys.stderr)  # noqa: T201 - the command's own error stream
                terminated = signal.SIGTERM in received()
                raise typer.Exit(_SIGNAL_EXIT + (signal.SIGTERM if terminated else signal.SIGINT)) from None


@contextmanager
def _watched_signals() -> Iterator[Callable[[], bytes]]:
    """Has SIGTERM interrupt as Ctrl-C does; yields what tells which signals came, by number.

    The interpreter itself writes the numbers into a pipe: Dagster's handlers, which replace all others during a run,
    do not tell one signal from the other.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: b""
        return
    reader, writer = os.pipe()
    for descriptor in (reader, writer):
        os.set_blocking(descriptor, False)

    def read() -> bytes:
        with suppress(BlockingIOError):
            return os.read(reader, 4096)
        return b""

    earlier_pipe = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield read
    finally:
        signal.signal(signal.SIGTERM, earlier)
        signal.set_wakeup_fd(earlier_pipe)
        os.close(reader)
        os.close(writer)


def _end_at_once_from_now_on() -> None:
    """Leaves a second Ctrl-C to the system: while the interpreter ends, an interrupt would only print a traceback."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
