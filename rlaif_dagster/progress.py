"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; `what` is a short noun such as "responses"."""


def ignore_progress(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""
