"""How many images a process decodes at once: no more than its cores and its memory carry."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from shared.cores import usable_cores

_LIMIT = Path("/sys/fs/cgroup/memory.max")
_SHARE = 0.5  # of the memory; the rest is for models, and what else the process holds
_BYTES_A_PIXEL = 16
"""The most that decoding takes of an accepted image, which is a WebP: two canvases of RGBA, the
pixels as they are handed over, and the image. Others take 8 to 10, a JPEG that is reduced while it
is decoded less, unless it is progressive."""


def decoding_places(
    max_pixels: int, *, processes: int = 1, limit: Path = _LIMIT
) -> threading.BoundedSemaphore:
    """A place for each image that may be decoded at this moment; at least one.

    Args:
        max_pixels: Largest width x height that is decoded.
        processes: As many share the container's memory.
        limit: See `usable_memory`.
    """
    memory = int(_SHARE * usable_memory(limit)) // processes
    return threading.BoundedSemaphore(
        max(1, min(usable_cores(), memory // (max_pixels * _BYTES_A_PIXEL)))
    )


def usable_memory(limit: Path = _LIMIT) -> int:
    """Bytes of memory that this machine has, and no more than its container may use.

    Args:
        limit: The file in which Linux tells a container's limit (cgroup v2, `memory.max`): bytes,
            or `max`. Without it, as on other systems, there is no limit.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(limit.read_text()))
    except (OSError, ValueError):  # `max` is no number
        return machine
