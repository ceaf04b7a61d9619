"""Pages ask for their parts every two seconds: the trail of calls would be of little else."""

from __future__ import annotations

import time

from shared.audit.calls import Call

POLL_SECONDS = 60.0
"""Of what somebody asks for again and again, one call in so long is recorded."""

_MOST = 10_000


class Polls:
    """Remembers who has had what; safe to share between threads."""

    def __init__(self) -> None:
        self._recorded: dict[tuple[object, ...], float] = {}

    def has_just_had(self, call: Call) -> bool:
        """Whether the same call, with the same answer, was recorded a moment ago."""
        asked = (call.actor, call.route, call.job_id, call.status)
        now = time.monotonic()
        if now - self._recorded.get(asked, float("-inf")) < POLL_SECONDS:
            return True
        if len(self._recorded) >= _MOST:
            self._recorded.clear()
        self._recorded[asked] = now
        return False
