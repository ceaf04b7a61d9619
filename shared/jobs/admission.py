"""Back-pressure: which jobs are let in."""

from __future__ import annotations

import datetime as dt
import math
import time
from http import HTTPStatus

from sqlalchemy import func, select

from shared.auth.keys import ApiKey
from shared.db.models import JobRow
from shared.db.session import Sessions, execute
from shared.errors import PermanentError, TransientError
from shared.jobs.states import Priority, Status
from shared.settings import Settings

_MINUTE = dt.timedelta(minutes=1)
_COUNT_HOLDS_SECONDS = 1.0
_MOST_IN_THAT_TIME = 2000


class QueueFullError(TransientError):
    """Too much waits in this queue already; send it again later."""

    code = "queue_full"


class RateExceededError(PermanentError):
    """The key has posted as many jobs as it may in a minute; send it again later."""

    code = "rate_exceeded"
    http_status = HTTPStatus.TOO_MANY_REQUESTS


class Admission:
    """Lets jobs in; safe to share between threads."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions = sessions
        self._bound = settings.max_queued_jobs
        self._rate = settings.key_jobs_per_minute
        self._counted: dict[Priority, tuple[float, int]] = {}

    def admit(self, key: ApiKey, priority: Priority) -> None:
        """Let a job in or raise.

        A full queue of one priority keeps no job of another out. The rate counts accepted jobs.

        Raises:
            RateExceededError: The key is over its rate.
            QueueFullError: `settings.max_queued_jobs` of this priority wait.
        """
        rate = key.jobs_per_minute or self._rate
        if rate and (seconds := _seconds_over_rate(self._sessions, key.id, rate)) > 0:
            error = RateExceededError(f"{rate} jobs a minute.")
            error.retry_after_seconds = math.ceil(seconds)
            raise error
        if self._waiting(priority) >= self._bound:
            raise QueueFullError(f"{self._bound} {priority} jobs wait.")

    def _waiting(self, priority: Priority) -> int:
        """How many jobs wait, up to the bound; counted a second ago while that is far from it."""
        counted_at, count = self._counted.get(priority, (float("-inf"), 0))
        now = time.monotonic()
        if now - counted_at > _COUNT_HOLDS_SECONDS or count + _MOST_IN_THAT_TIME >= self._bound:
            count = _count_waiting(self._sessions, priority, self._bound)
            self._counted[priority] = (now, count)
        return count


def _seconds_over_rate(sessions: Sessions, key_id: str, rate: int) -> float:
    """Seconds until the job that stands `rate` places back is a minute old; 0 if it is."""
    age = func.clock_timestamp() - JobRow.submitted_at
    statement = (
        select(func.extract("epoch", _MINUTE - age))
        .where(JobRow.api_key_id == key_id)
        .order_by(JobRow.submitted_at.desc())
        .offset(rate - 1)
        .limit(1)
    )
    rows = execute(sessions, statement)
    seconds = float(rows[0][0]) if rows else 0.0
    return min(max(0.0, seconds), _MINUTE.total_seconds())


def _count_waiting(sessions: Sessions, priority: Priority, bound: int) -> int:
    waiting = (
        select(JobRow.id)
        .where(JobRow.status == Status.QUEUED, JobRow.priority == priority)
        .limit(bound)
        .subquery()
    )
    ((count,),) = execute(sessions, select(func.count()).select_from(waiting))
    return int(count)
