"""Child processes that end when their parent is killed; only Linux can."""

import ctypes
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def make_end_with_parent(sent: signal.Signals) -> Callable[[], None]:
    """What a child calls to be sent a signal when its parent ends: one system call, safe between fork and exec."""
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, sent)


end_with_parent: Final = make_end_with_parent(signal.SIGTERM)
"""For a child that ends what it started itself."""
die_with_parent: Final = make_end_with_parent(signal.SIGKILL)
"""For a child that may not do anything more."""
