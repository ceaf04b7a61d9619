"""Has the challenger look at what others have answered: `python -m services.worker.shadow`.

It is a process of its own that yields to all others, and to every job that waits. The challenger
is loaded in a child of it, which is gone as soon as the challenger is: no model stays behind, and
an image that crashes the challenger crashes the child alone.
"""

from __future__ import annotations

import datetime as dt
import logging
import multiprocessing
import os
import signal
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from services.worker.batcher import NotNowError
from services.worker.isolation import Isolation
from shared.auth.tenants import EVERY_TENANT
from shared.db.session import Sessions, create_database, create_sessions
from shared.errors import HemotriageError, PermanentError
from shared.heartbeat import beat
from shared.jobs.claim import Claim
from shared.jobs.queries import get_job
from shared.logging import configure_logging
from shared.metrics import serve_metrics
from shared.outage import is_outage
from shared.registry.aliases import read_aliases
from shared.registry.shadow_tasks import Position, ShadowTask, keep, moment, pending
from shared.registry.states import Alias, AliasTarget
from shared.settings import Settings
from shared.telemetry.about import about
from shared.telemetry.tracing import configure_tracing, span
from shared.triage.result import TriageResult

_log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often it looks who is challenger, and for jobs that have finished."""

_NICENESS = 10
_MOST_FAILURES = 2
_LEAVING_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 1.0
_AT_ONCE = 16
_OVERLAP = dt.timedelta(minutes=1)
_WHOLE_LOOK_EVERY = dt.timedelta(minutes=15)
_CONNECTIONS = 2  # one to look who is challenger, one to work

MakeResult = Callable[[Claim], TriageResult]


class Shadow:
    """Takes what the challenger has not looked at, one job at a time, until it is closed.

    How far it is, it keeps to itself: what has a row is done. Its looks begin a minute before the
    last one that found nothing, since a result may be committed later than it was dated; and every
    quarter of an hour at the moment when the challenger was set, so that whatever came later
    still, or could not be looked at, has its turn.
    """

    def __init__(
        self, sessions: Sessions, make: MakeResult, end: Callable[[], object], *, pause: float
    ) -> None:
        """Put it together; nothing is taken before `start`.

        Args:
            sessions: The database, with a connection for `look` and one for the work.
            make: Makes a result in a process of its own.
            end: Ends that process, whatever it does.
            pause: Seconds between one look for finished jobs and the next.
        """
        self._sessions = sessions
        self._make = make
        self._end = end
        self._pause = pause
        self._challenger: AliasTarget | None = None
        self._position: Position | None = None
        self._whole_look_at: dt.datetime | None = None
        self._set_aside: set[ShadowTask] = set()
        self._failures: Counter[ShadowTask] = Counter()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Take what waits, and whatever comes."""
        self._thread.start()

    def look(self) -> None:
        """See who is challenger; what works for another one, or for none, is ended at once."""
        try:
            challenger = read_aliases(self._sessions).get(Alias.CHALLENGER)
        except SQLAlchemyError as error:
            _log.warning("waiting for the database", extra={"error": type(error).__name__})
        else:
            before, self._challenger = self._challenger, challenger
            if challenger is None or str(before) != str(challenger):
                self._end()
        if self._thread.is_alive():
            beat("shadow")

    def close(self) -> None:
        """Take nothing more, and end what is in hand."""
        self._closed.set()
        self._challenger = None
        self._end()
        self._thread.join(_LEAVING_SECONDS)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                if self._challenger is not None:
                    self._take_all()
            except Exception as error:  # the thread must outlive whatever it meets
                if _is_matter_of(error):
                    _log.exception("shadow runs wait")
                else:
                    _log.warning("waiting for a server", extra={"error": type(error).__name__})
            self._closed.wait(self._pause)

    def _take_all(self) -> None:
        """Take what is pending until nothing is left, or until something else comes first."""
        begun = moment(self._sessions, longest_seconds=_LONGEST_WAIT_SECONDS).at
        # Either way: the database's clock may have been set back.
        if self._whole_look_at is None or abs(begun - self._whole_look_at) > _WHOLE_LOOK_EVERY:
            self._whole_look_at, self._position = begun, None
            self._set_aside.clear()
        while tasks := pending(self._sessions, limit=_AT_ONCE, after=self._position):
            for task in tasks:
                if not self._is_current(task) or self._must_yield():
                    return
                if task not in self._set_aside:
                    with about(**task.ids), span("shadow", parent=task.origin.traceparent):
                        self._take(task)
                self._position = task.position
        self._position = (begun - _OVERLAP, uuid.UUID(int=0))

    def _is_current(self, task: ShadowTask) -> bool:
        return str(self._challenger) == f"{task.name}@{task.version}"

    def _must_yield(self) -> bool:
        return moment(self._sessions, longest_seconds=_LONGEST_WAIT_SECONDS).live_jobs_wait

    def _take(self, task: ShadowTask) -> None:
        try:
            said = self._said(task)
            if self._is_current(task):
                keep(self._sessions, task, said)
                _log.info("shadow run")
        except Exception as error:  # it keeps no other from its turn, whatever was raised
            if not _is_matter_of(error):
                raise
            if self._is_current(task):  # or it was ended in the middle
                _log.warning("shadow run failed", exc_info=error)
                self._set_aside.add(task)
                self._failures[task] += 1
                if self._failures[task] >= _MOST_FAILURES:
                    # Or figures would be of those jobs alone that it survives.
                    keep(self._sessions, task, getattr(error, "code", HemotriageError.code))

    def _said(self, task: ShadowTask) -> TriageResult | str:
        """What the challenger says, or the code of the error for which it says nothing."""
        images = get_job(self._sessions, task.job_id, tenant=EVERY_TENANT).images
        held = Claim(
            job_id=task.job_id,
            worker="shadow",
            attempt=1,
            isolated=True,
            model_name=task.name,
            model_version=task.version,
            images=images,
            origin=task.origin,
        )
        try:
            return self._make(held)
        except PermanentError as error:
            return error.code


def _is_matter_of(error: Exception) -> bool:
    """Whether an error is one of what was done, and not of a server or a process that is away."""
    return not (is_outage(error) or isinstance(error, NotNowError))


def _end_children() -> None:
    """End the child, whatever it does: it has nothing that a later one does not find again."""
    for child in multiprocessing.active_children():
        child.kill()


def main() -> int:
    """Work until SIGTERM; what runs then is ended, and done anew by whoever comes next."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = Settings()
    configure_logging(settings.log_level, service="shadow")
    configure_tracing(settings, service="shadow")
    serve_metrics(settings)
    os.nice(_NICENESS)
    sessions = create_sessions(create_database(settings, pool_size=_CONNECTIONS))
    shadow = Shadow(sessions, Isolation(settings), _end_children, pause=LOOK_SECONDS)
    shadow.start()
    shadow.look()
    while not stopping.wait(LOOK_SECONDS):
        shadow.look()
    shadow.close()
    # A thread that waits for a server would be waited for.
    os._exit(os.EX_OK)


if __name__ == "__main__":
    sys.exit(main())
