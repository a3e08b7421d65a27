"""Tools for processes: children that end when their parent is killed (Linux only), and discarded output."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_PR_SET_PDEATHSIG: Final = 1


def make_end_with_parent(sent: signal.Signals) -> Callable[[], None]:
    """Makes a function that a child calls to receive a signal when its parent ends: one system call, fork-safe."""
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, sent)


end_with_parent: Final = make_end_with_parent(signal.SIGTERM)
"""For a child that ends its own children."""
die_with_parent: Final = make_end_with_parent(signal.SIGKILL)
"""For a child that must end at once."""


def find_descriptor(stream: TextIO | None) -> int | None:
    """The file descriptor of a stream; None if it has none (closed, or in memory)."""
    try:
        return None if stream is None else stream.fileno()
    except OSError:
        return None


@contextmanager
def silenced() -> Iterator[None]:
    """Discards what this process and its children print during a `with` block.

    Code that redirects the descriptors inside the block still receives everything printed there.
    """
    streams = [
        (stream, descriptor)
        for stream in (sys.stdout, sys.stderr)
        if (descriptor := find_descriptor(stream)) is not None
    ]
    for stream, _ in streams:
        stream.flush()
    copies = [(descriptor, os.dup(descriptor)) for _, descriptor in streams]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for _, descriptor in streams:
            os.dup2(nowhere, descriptor)
        yield
    finally:
        for stream, _ in streams:
            stream.flush()
        for descriptor, copy in copies:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
