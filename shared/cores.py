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
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        limit = math.inf if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        limit = math.inf
    return max(1, min(cores, math.ceil(limit) if math.isfinite(limit) else cores))
