"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # glibc's malloc.h


def share_one_heap() -> None:
    """Have all threads of this process take memory from one heap; to be called before they start.

    glibc gives each thread one of up to eight heaps a core (mallopt(3), "M_ARENA_MAX"). Where any
    thread may decode any image, each heap fills, over an hour, up to what the largest images need.
    A C library without such a setting is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
