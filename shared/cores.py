"""How many cores a process may use: in a container fewer than its machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """The cores that this process may run on, and no more than its container may use; at least 1.

    Args:
        quota: The file in which Linux tells a container's limit (cgroup v2, `cpu.max`):
            microseconds of processor time in a period of so many, or `max`. Without it, as on other
            systems, there is no limit.
    """
    # Linux alone tells what a process may run on.
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        limit = cores if allowed == "max" else math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):
        limit = cores
    return max(1, min(cores, limit))
