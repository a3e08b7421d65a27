"""The interface through which long work reports its progress."""

from typing import Final, Protocol


class Progress(Protocol):
    """Called as `progress(what, done, total)`, with a note if there is one."""

    def __call__(self, what: str, done: int, total: int, note: str = "", /) -> None:
        """Reports how far the work is.

        Args:
            what: A short noun, such as "responses"; the same throughout.
            done: How many are done.
            total: How many there are in total.
            note: Further information, such as the cost so far.
        """


class RunProgress(Progress, Protocol):
    """A `Progress` that also follows a run from asset to asset."""

    def start_asset(self, asset: str) -> None:
        """Reports that the run starts an asset."""

    def finish_asset(self, asset: str, status: str, rows: int | None) -> None:
        """Reports the asset's result.

        Args:
            asset: Its name.
            status: "computed", "reused" or "not made".
            rows: Rows of its main table, or None if it has none.
        """


class _Silence:
    """A `RunProgress` that shows nothing."""

    def __call__(self, what: str, done: int, total: int, note: str = "", /) -> None:
        """Shows nothing."""

    def start_asset(self, asset: str) -> None:
        """Shows nothing."""

    def finish_asset(self, asset: str, status: str, rows: int | None) -> None:
        """Shows nothing."""


ignore_progress: Final[RunProgress] = _Silence()
"""A `RunProgress` that shows nothing."""
