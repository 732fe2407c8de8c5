"""Children that end when their parent does, even if it was killed with kill -9.

Linux sends a process the signal it chose with prctl(PR_SET_PDEATHSIG) when the thread that started it
ends; ours are started by the main thread. The choice survives exec but not fork, so it is SIGTERM and not
SIGKILL: the proxy's first process must live long enough to end its workers.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl
"""Looked up before any fork: a child between fork and exec should do next to nothing."""


def ending_with_parent() -> Callable[[], None]:
    """Return what a child runs between fork and exec."""
    parent = os.getpid()

    def before_exec() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we asked to be told
            os._exit(1)

    return before_exec
