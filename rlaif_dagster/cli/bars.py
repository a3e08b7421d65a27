"""Shows the progress of long work on stderr: as bars on a terminal, as lines elsewhere.

Results go to stdout alone. Both classes write to a copy of stderr's file descriptor, because Dagster redirects the
descriptor itself during a run.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from rlaif_dagster.cli.stopping import stop_if_asked
from rlaif_dagster.processes import find_descriptor
from rlaif_dagster.progress import RunProgress

LINE_SECONDS: Final = 30.0
"""Two lines about the same work are at least this many seconds apart."""
LINE_SHARE: Final = 0.1
"""Two lines about the same work are at least this share of the work apart."""


@contextmanager
def show_progress(title: str) -> Iterator[RunProgress]:
    """Shows progress; removes the bars when the work ends.

    Args:
        title: The command, shown while no asset is being made.
    """
    with _copy_of_stderr() as stream:
        console = _ErrorConsole(file=stream)
        # FORCE_COLOR and similar variables make rich treat a pipe as a terminal; bars would be noise there.
        draws = console.is_interactive and console.file.isatty()
        with Bars(console, title) if draws else Lines(console) as shown:
            yield shown


@contextmanager
def _copy_of_stderr() -> Iterator[TextIO]:
    stream = sys.stderr
    descriptor = find_descriptor(stream)
    if descriptor is None:
        yield stream
        return
    with os.fdopen(os.dup(descriptor), "w", encoding=stream.encoding, errors=stream.errors) as copy:
        yield copy


class _ErrorConsole(Console):
    """A console that measures the terminal of its own file; rich asks descriptors 0, 1 and 2."""

    @property  # type: ignore[misc]  # rich's has a setter as well, which nobody needs here
    def size(self) -> ConsoleDimensions:
        """The current size."""
        with suppress(OSError):
            width, height = os.get_terminal_size(self.file.fileno())
            if width and height:  # some terminals report 0
                return ConsoleDimensions(width, height)
        return super().size

    def on_broken_pipe(self) -> None:
        """Discards further output when the reader of the pipe is gone; the work continues."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


@dataclass(slots=True)
class _Assets:
    """Prints one line for each finished asset, and remembers the one in progress."""

    console: Console
    clock: Callable[[], float]
    asset: str | None = None
    started: float = 0.0

    def start(self, asset: str) -> None:
        self.asset, self.started = asset, self.clock()

    def end(self, words: str) -> None:
        """Prints the result of the asset in progress, if there is one."""
        if self.asset is not None:
            self.say(f"{self.asset}: {words}, {self.clock() - self.started:,.1f} s")
        self.asset = None

    def finish(self, status: str, rows: int | None) -> None:
        self.end(status if rows is None else f"{status}, {rows:,} row{'s' * (rows != 1)}")

    def say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def give_up(self, error: type[BaseException] | None) -> None:
        """Prints that an asset was not finished."""
        self.end("stopped" if error is not None and not issubclass(error, Exception) else "failed")


class Lines:
    """Prints a line for each event, and from time to time one about long work."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Makes the printer.

        Args:
            console: The console.
            clock: A clock in seconds.
        """
        self._assets = _Assets(console, clock)
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Self:
        """Starts."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Prints which asset was not finished, if any."""
        self._assets.give_up(error)

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Prints the progress, if enough time and work passed since the last line about it."""
        stop_if_asked()
        now = self._clock()
        said_at, said_done = self._said.setdefault(what, (now, 0))
        if done >= total or now - said_at < LINE_SECONDS or done - said_done < LINE_SHARE * total:
            return
        self._said[what] = now, done
        asset = f"{self._assets.asset}: " if self._assets.asset else ""
        more = f", {note}" if note else ""
        self._assets.say(f"{asset}{what}, {done:,} of {total:,} ({100 * done // total} %){more}")

    def start_asset(self, asset: str) -> None:
        """Prints that work on the asset starts."""
        stop_if_asked()
        self._said.clear()
        self._assets.start(asset)
        self._assets.say(f"{asset}: started")

    def finish_asset(self, asset: str, status: str, rows: int | None) -> None:
        """Prints the asset's result."""
        self._assets.finish(status, rows)


class Bars:
    """Draws the asset in progress with one bar for each kind of work; prints a line for each finished asset."""

    def __init__(self, console: Console, title: str) -> None:
        """Makes the display.

        Args:
            console: The console, on a terminal.
            title: The command, shown while no asset is being made.
        """
        self._assets = _Assets(console, time.monotonic)
        one_line = Column(no_wrap=True)
        self._head = Progress(
            SpinnerColumn(), _TextColumn("description"), TimeElapsedColumn(), console=console
        )
        self._bars = Progress(
            _TextColumn("description"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),  # the width that the words leave
            MofNCompleteColumn(table_column=one_line),
            _RateColumn(table_column=one_line),
            TimeRemainingColumn(table_column=one_line),
            _TextColumn("note", style="dim"),
            console=console,
            expand=True,
        )
        self._title = self._head.add_task(title, total=None)
        self._asset: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        # Not redirected: what libraries print goes to Dagster's record of the run, not into this display.
        self._live = Live(
            Group(self._head, self._bars),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Starts drawing."""
        self._live.start()
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the bars."""
        self._live.stop()
        self._assets.give_up(error)

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Updates the bar of one kind of work."""
        stop_if_asked()
        task = self._tasks.get(what)
        if task is None:
            task = self._tasks[what] = self._bars.add_task(f"  {what}", total=total, note=note)
        self._bars.update(task, completed=done, total=total, note=note)

    def start_asset(self, asset: str) -> None:
        """Shows the asset's name."""
        stop_if_asked()
        self._assets.start(asset)
        self._head.update(self._title, visible=False)
        self._asset = self._head.add_task(asset, total=None)

    def finish_asset(self, asset: str, status: str, rows: int | None) -> None:
        """Prints the asset's result and removes its bars."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        if self._asset is not None:
            self._head.remove_task(self._asset)
            self._asset = None
        self._head.update(self._title, visible=True)
        self._assets.finish(status, rows)


class _TextColumn(ProgressColumn):
    """A field of a task as text. It is cut when the line is full, so that the numbers stay."""

    def __init__(self, name: str, *, style: str = "") -> None:
        super().__init__()
        self._name, self._style = name, style

    def render(self, task: Task) -> Text:
        """Renders the text on one line."""
        text = task.description if self._name == "description" else task.fields[self._name]
        # rich gives an empty column a width of 1 after it has divided the line, and then cuts the words.
        return Text(text or " ", style=self._style, no_wrap=True, overflow="ellipsis")


class _RateColumn(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """Renders the rate; nothing until it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")  # noqa: PLR2004
