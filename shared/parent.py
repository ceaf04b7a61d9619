"""Ends a process with the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def dying_with_parent(number: signal.Signals) -> Callable[[], object] | None:
    """Have the kernel signal the calling process when its parent's thread is gone; Linux only.

    What is returned is called in the child: before it runs a program, or first of all by that.
    None on other systems.
    """
    if _LIBC is None:
        return None
    libc = _LIBC
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, int(number))
