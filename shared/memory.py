"""What the C library keeps of memory that was freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # glibc's malloc.h
_LARGE_BYTES = 1024**2


def return_large_blocks() -> None:
    """Have blocks of a MiB and more, decoded images, go back to the system when they are freed.

    The threshold of glibc rises to the largest block that was ever freed (mallopt(3),
    "M_MMAP_THRESHOLD"). Images then lie between small objects in the heaps of all threads, which
    fill up over an hour. A C library without such a setting is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
