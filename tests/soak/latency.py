"""Whether the time from a job's arrival to its result is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.soak.load import PRIORITIES, Sent
from tests.soak.logs import Window

STAT_BOUND_SECONDS = 1.0
"""The longest p95 of a stat job beside the load, outside of what events disturb."""

_SLOWER = 1.5
_SLACK_SECONDS = 0.15  # a machine that does something else for a moment
_LEAST_JOBS = 20


@dataclass(frozen=True)
class Latency:
    """Of one priority, seconds; None where too few jobs tell."""

    priority: str
    jobs: int
    p50: float | None
    p95: float | None
    first: float | None
    """p95 of the first quarter after the warm-up."""
    last: float | None
    """p95 of the last quarter."""

    @property
    def complaint(self) -> str | None:
        """What is wrong with it."""
        if self.first is not None and self.last is not None:
            limit = max(_SLOWER * self.first, self.first + _SLACK_SECONDS)
            if self.last > limit:
                return f"p95 of {self.priority} went from {self.first:.2f} to {self.last:.2f} s"
        if self.priority == "stat" and self.p95 is not None and self.p95 > STAT_BOUND_SECONDS:
            return f"p95 of stat is {self.p95:.2f} s"
        return None


def latencies(
    sent: Sequence[Sent],
    worked: Mapping[str, float],
    windows: Sequence[Window],
    *,
    begin: float,
    end: float,
) -> list[Latency]:
    """Measure each priority.

    Args:
        sent: What was posted.
        worked: Of each job that succeeded, seconds from its acceptance to its result.
        windows: Times in which jobs may wait; those that were due then do not count.
        begin: End of the warm-up, by the wall clock.
        end: Of the load.
    """
    quarter = (end - begin) / 4
    found = []
    for priority in PRIORITIES:
        took = [
            (one.wall, one.accepted - one.due + worked[one.job_id])
            for one in sent
            if one.priority == priority
            and one.job_id in worked
            and begin <= one.wall <= end
            and not any(window.begin <= one.wall <= window.end for window in windows)
        ]
        everything = [seconds for _, seconds in took]
        first = [seconds for at, seconds in took if at < begin + quarter]
        last = [seconds for at, seconds in took if at >= end - quarter]
        p50, p95 = _percentile(everything, 50), _percentile(everything, 95)
        quarters = _percentile(first, 95), _percentile(last, 95)
        found.append(Latency(priority, len(took), p50, p95, *quarters))
    return found


def _percentile(seconds: list[float], share: float) -> float | None:
    return float(np.percentile(seconds, share)) if len(seconds) >= _LEAST_JOBS else None
