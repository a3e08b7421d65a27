"""How far long work is, on the error stream: bars on a terminal, lines elsewhere.

Results stay alone on the standard output. Both write to a copy of the error stream's descriptor: during a run Dagster
gives the descriptor itself another file.
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
"""Lines about one piece of work are at least this far apart."""
LINE_SHARE: Final = 0.1
"""And at least this share of the work."""


@contextmanager
def show_progress(title: str) -> Iterator[RunProgress]:
    """Shows how far the work is, and removes what moves when it ends.

    Args:
        title: The command, which is shown while no asset is under way.
    """
    with _copy_of_stderr() as stream:
        console = _ErrorConsole(file=stream)
        # A variable such as FORCE_COLOR makes rich take a pipe for a terminal, and there bars would be noise.
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
    """A console as wide as the terminal of its own file; rich asks descriptors 0, 1 and 2, which may be none."""

    @property  # type: ignore[misc]  # rich's has a setter as well, which nobody needs here
    def size(self) -> ConsoleDimensions:
        """The size now."""
        with suppress(OSError):
            width, height = os.get_terminal_size(self.file.fileno())
            if width and height:  # some terminals do not know
                return ConsoleDimensions(width, height)
        return super().size

    def on_broken_pipe(self) -> None:
        """Writes to nowhere where nobody reads any more; the work itself goes on."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


@dataclass(slots=True)
class _Assets:
    """Prints one line for each asset that ends, and keeps the one under way."""

    console: Console
    clock: Callable[[], float]
    asset: str | None = None
    started: float = 0.0

    def start(self, asset: str) -> None:
        self.asset, self.started = asset, self.clock()

    def end(self, words: str) -> None:
        """Says what became of the asset under way, if there is one."""
        if self.asset is not None:
            self.say(f"{self.asset}: {words}, {self.clock() - self.started:,.1f} s")
        self.asset = None

    def finish(self, status: str, rows: int | None) -> None:
        self.end(status if rows is None else f"{status}, {rows:,} row{'s' * (rows != 1)}")

    def say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def give_up(self, error: type[BaseException] | None) -> None:
        """Says that an asset did not come to its end."""
        self.end("stopped" if error is not None and not issubclass(error, Exception) else "failed")


class Lines:
    """Prints a line for each event, and now and then one about work that takes long."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes where the lines go.

        Args:
            console: The console.
            clock: Tells seconds.
        """
        self._assets = _Assets(console, clock)
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Self:
        """Starts."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Says what became of an asset that did not come to its end."""
        self._assets.give_up(error)

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Prints how far the work is, if the last line about it is long ago and much was done since."""
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
        """Prints that the asset was started."""
        stop_if_asked()
        self._said.clear()
        self._assets.start(asset)
        self._assets.say(f"{asset}: started")

    def finish_asset(self, asset: str, status: str, rows: int | None) -> None:
        """Prints what became of the asset."""
        self._assets.finish(status, rows)


class Bars:
    """Draws the asset under way and one bar for each kind of work in it; prints a line for each asset that ends."""

    def __init__(self, console: Console, title: str) -> None:
        """Takes where the bars go.

        Args:
            console: The console, on a terminal.
            title: The command, which is shown while no asset is under way.
        """
        self._assets = _Assets(console, time.monotonic)
        one_line = Column(no_wrap=True)
        self._head = Progress(
            SpinnerColumn(), _TextColumn("description"), TimeElapsedColumn(), console=console
        )
        self._bars = Progress(
            _TextColumn("description"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),  # what the words leave
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
        # Not redirected: what libraries print stays out of the picture, and in Dagster's record of the run.
        self._live = Live(
            Group(self._head, self._bars),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Starts to draw."""
        self._live.start()
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the bars."""
        self._live.stop()
        self._assets.give_up(error)

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Moves the bar of a kind of work."""
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
        """Prints what became of the asset, and removes its bars."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        if self._asset is not None:
            self._head.remove_task(self._asset)
            self._asset = None
        self._head.update(self._title, visible=True)
        self._assets.finish(status, rows)


class _TextColumn(ProgressColumn):
    """A field of a task, as it is; it gives way where a line is full, and the numbers do not."""

    def __init__(self, name: str, *, style: str = "") -> None:
        super().__init__()
        self._name, self._style = name, style

    def render(self, task: Task) -> Text:
        """The text on one line."""
        text = task.description if self._name == "description" else task.fields[self._name]
        # rich counts an empty column as one wide after it shared out the line, and then cuts the words.
        return Text(text or " ", style=self._style, no_wrap=True, overflow="ellipsis")


class _RateColumn(ProgressColumn):
    """Pieces a second."""

    def render(self, task: Task) -> Text:
        """The rate, as far as it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")  # noqa: PLR2004
