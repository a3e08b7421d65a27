"""How long work tells how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Called as `progress(what, done, total)`, and with a note where there is one."""

    def __call__(self, what: str, done: int, total: int, note: str = "", /) -> None:
        """Tells how far the work is.

        Args:
            what: A short noun, such as "responses"; the same throughout.
            done: How many are done.
            total: Of how many.
            note: What else there is to say of it now, such as what it has cost.
        """


def ignore_progress(what: str, done: int, total: int, note: str = "") -> None:
    """A `Progress` that shows nothing."""
