"""Every call of the API as an event, written in groups so that no call waits for it."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from shared.clock import utc_now
from shared.db.session import Sessions, execute
from shared.outage import is_outage

CALLED = "api.called"
"""The action of each call."""

FLUSH_SECONDS = 1.0
"""So much of the calls is lost at most when the process is killed."""

MOST_WAITING = 10_000
"""Calls that wait for the database; beyond them the oldest are dropped, and counted."""

_GROUP = 1000

# One parameter, however many rows: the statement is the same for any group.
_INSERT = text("""
    INSERT INTO audit_events (at, actor, action, job_id, details)
    SELECT at, actor, action, job_id, details
    FROM ROWS FROM (
        jsonb_to_recordset(CAST(:events AS jsonb))
        AS (at timestamptz, actor text, action text, job_id uuid, details jsonb)
    ) WITH ORDINALITY AS event(at, actor, action, job_id, details, place)
    ORDER BY place
""")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One call and its answer.

    Attributes:
        at: When it came.
        actor: `key:ID`, or `anonymous` where no valid key was sent.
        route: The route's template, never the address with what it may name; None: no route.
        milliseconds: Until the answer's first byte was there to be sent.
    """

    at: dt.datetime
    actor: str
    method: str
    route: str | None
    status: int
    job_id: uuid.UUID | None
    request_id: str
    milliseconds: float


class CallTrail:
    """Takes calls at once and writes them a little later; safe to share between threads.

    Where the answer to a commit is lost, a group may be in the trail twice.
    """

    def __init__(self, sessions: Sessions, *, most_waiting: int = MOST_WAITING) -> None:
        self._sessions = sessions
        self._most_waiting = most_waiting
        self._waiting: deque[Call] = deque()
        self._dropped = 0
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)

    def add(self, call: Call) -> None:
        """Have a call written."""
        with self._lock:
            self._waiting.append(call)
            self._drop_oldest()

    def start(self) -> None:
        """Write what waits, each second, until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop, once what waits is written; where the database is away, it is lost."""
        self._stopping.set()
        self._thread.join()
        self.flush()
        if self._waiting or self._dropped:
            lost = len(self._waiting) + self._dropped
            _log.error("calls are missing in the audit trail", extra={"calls": lost})

    def flush(self) -> None:
        """Write what waits; where the database is away, it goes on waiting."""
        with self._flushing:
            while self._waiting or self._dropped:
                calls, dropped = self._take()
                try:
                    _write(self._sessions, calls, dropped)
                except Exception as error:  # the thread must outlive whatever it meets
                    if is_outage(error):
                        self._put_back(calls, dropped)
                        _log.warning("the audit trail waits for the database")
                    else:
                        self._put_back([], dropped + len(calls))
                        _log.exception("calls are missing in the audit trail")
                    return

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_SECONDS):
            self.flush()

    def _take(self) -> tuple[list[Call], int]:
        with self._lock:
            calls = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
            dropped, self._dropped = self._dropped, 0
        return calls, dropped

    def _put_back(self, calls: Sequence[Call], dropped: int) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(calls))
            self._dropped += dropped
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > self._most_waiting:
            self._waiting.popleft()
            self._dropped += 1


def _write(sessions: Sessions, calls: Sequence[Call], dropped: int) -> None:
    events = [_event(call) for call in calls]
    if dropped:
        now = utc_now().isoformat()
        details = {"calls": dropped}
        events.append({"at": now, "actor": "api", "action": "api.dropped", "details": details})
    execute(sessions, _INSERT, {"events": json.dumps(events)})


def _event(call: Call) -> dict[str, Any]:
    return {
        "at": call.at.isoformat(),
        "actor": call.actor,
        "action": CALLED,
        "job_id": None if call.job_id is None else str(call.job_id),
        "details": {
            "method": call.method,
            "route": call.route,
            "status": call.status,
            "request_id": call.request_id,
            "ms": call.milliseconds,
        },
    }
