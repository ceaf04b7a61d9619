"""When what happens: servers first, then promotions, restarts, other work; at last load alone."""

from __future__ import annotations

from dataclasses import dataclass

from tests.soak.events import PROMOTIONS, RESTARTS, SERVERS, WORK, Event

_MOST_WARM_UP_SECONDS = 300.0
_WARM_UP = 0.1
_FIRST, _LAST = 0.02, 0.68
_SETTLE = 0.04
_MOST_SETTLE_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """The times of a soak, in seconds from the beginning of its load."""

    seconds: float
    warm_up: float
    events: list[tuple[float, Event]]
    settle: float
    """After a break a process fills its caches: that is no growth."""


def plan(minutes: float) -> Plan:
    """Spread the events over the time; the last third of it has none, so that memory can be seen.

    Args:
        minutes: Of load, the warm-up included.
    """
    seconds = 60 * minutes
    warm_up = min(_MOST_WARM_UP_SECONDS, _WARM_UP * seconds)
    steady = seconds - warm_up
    events = [*SERVERS, *PROMOTIONS, *RESTARTS, *WORK]
    step = (_LAST - _FIRST) / (len(events) - 1)
    times = [warm_up + steady * (_FIRST + step * number) for number in range(len(events))]
    settle = min(_MOST_SETTLE_SECONDS, _SETTLE * steady)
    return Plan(seconds, warm_up, list(zip(times, events, strict=True)), settle)
