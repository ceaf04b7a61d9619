"""Runs suspects: jobs in whose company a worker crashed or hung.

Each runs alone in a child process. If it crashes again, the child is all that it takes with it,
and it is known which job did it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from services.worker.batcher import Batcher, NotNowError
from services.worker.patience import Patience
from services.worker.runtime import Runtime
from services.worker.triage import Triage
from services.worker.watchdog import Watchdog, start_last_resort
from shared.db.session import create_database, create_sessions
from shared.errors import AttemptCrashedError, AttemptHungError
from shared.jobs.claim import Claim
from shared.logging import configure_logging
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.telemetry.about import Origin, about
from shared.telemetry.tracing import configure_tracing, span, traceparent
from shared.triage.result import TriageResult

HUNG_EXIT_CODE = 75
PATIENCE_SECONDS = 30.0

_START_SECONDS = 60.0
_TURN_SECONDS = 5.0
_END_SECONDS = 2.0
_IDLE_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Isolation:
    """One child process at a time, started at need and kept for a minute or until it crashes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._place = threading.Lock()
        self._taken_at = 0.0
        self._child: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._idle = threading.Timer(_IDLE_SECONDS, self.close)

    def __call__(self, held: Claim) -> TriageResult:
        """Make the result of one job in the child.

        Raises:
            AttemptCrashedError: The child crashed over it.
            AttemptHungError: It went on beyond its limit.
            NotNowError: Another suspect runs and goes on running.
            HemotriageError: What the job itself raised.
        """
        if not self._place.acquire(timeout=self._turn_seconds()):
            raise NotNowError("another job runs alone", delay_seconds=_TURN_SECONDS)
        self._taken_at = time.monotonic()
        self._idle.cancel()
        try:
            connection = self._ready()
            answer = self._ask(connection, held)
        finally:
            self._end_when_idle()
            self._place.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the child; a job that it has is waited for."""
        with self._place:
            self._end()

    def _turn_seconds(self) -> float:
        """How long to wait for the child: not at all for a job that has it for long already."""
        return max(0.0, self._taken_at + _TURN_SECONDS - time.monotonic())

    def _end_when_idle(self) -> None:
        self._idle = threading.Timer(_IDLE_SECONDS, self.close)
        self._idle.daemon = True
        self._idle.start()

    def _ready(self) -> Connection:
        """The connection to a child that waits for a job."""
        if self._child is not None and self._connection is not None and self._child.is_alive():
            return self._connection
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._child = context.Process(
            target=_serve, args=(theirs, self._settings), name="isolated", daemon=True
        )
        self._child.start()
        theirs.close()
        if not self._is_ready(self._connection):
            self._end()
            raise NotNowError("the process for it does not start", delay_seconds=_TURN_SECONDS)
        return self._connection

    @staticmethod
    def _is_ready(connection: Connection) -> bool:
        try:
            return connection.poll(_START_SECONDS) and bool(connection.recv())
        except (EOFError, OSError):
            return False

    def _ask(self, connection: Connection, held: Claim) -> TriageResult | Exception:
        # The child has limits of its own; this one is for a child that is frozen as a whole.
        pieces = len(held.images) + 1
        limit = pieces * (2 * self._settings.work_limit_seconds + PATIENCE_SECONDS)
        try:
            origin = Origin(held.origin.request_id, traceparent())
            connection.send(replace(held, origin=origin))
            if not connection.poll(limit):
                self._end()  # or its late answer would be taken for the next job's
                return AttemptHungError()
            answer: TriageResult | Exception = connection.recv()
        except (EOFError, OSError):
            return self._cause_of_death()
        else:
            return answer
        finally:
            if self._child is not None and not self._child.is_alive():
                self._end()

    def _cause_of_death(self) -> Exception:
        child = self._end()
        code = child.exitcode if child else None
        _log.warning("the isolated process ended", extra={"exit_code": code})
        if code == HUNG_EXIT_CODE:
            return AttemptHungError()
        died_of = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        return AttemptCrashedError(f"{died_of}.")

    def _end(self) -> SpawnProcess | None:
        child, self._child = self._child, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if child is not None:
            child.join(_END_SECONDS)
            child.kill()
            child.join()
        return child


def _serve(connection: Connection, settings: Settings) -> None:
    """The child: makes results until its parent is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    configure_logging(settings.log_level, service="worker-isolated")
    configure_tracing(settings, service="worker-isolated")
    _be_the_first_to_go()
    _end_with_parent()
    watchdog = Watchdog(
        limit_seconds=settings.work_limit_seconds, on_overdue=lambda _: os._exit(HUNG_EXIT_CODE)
    )
    start_last_resort(2 * settings.work_limit_seconds)
    sessions = create_sessions(create_database(settings, pool_size=1))
    storage = S3Store(settings, pool_size=1)
    triage = Triage(
        storage,
        Runtime(settings, Catalogue(settings, sessions, storage)),
        Batcher(watchdog, batch_size=settings.batch_size),
        watchdog,
        Patience(seconds=PATIENCE_SECONDS, stopping=threading.Event()),
        max_pixels=settings.max_pixels,
    )
    connection.send("ready")
    with suppress(EOFError, OSError):
        while True:
            held = connection.recv()
            connection.send(_answer(triage, held))


def _answer(triage: Triage, held: Claim) -> TriageResult | Exception:
    try:
        with about(**held.ids), span("isolated", parent=held.origin.traceparent):
            return triage(held)
    except Exception as error:  # the parent raises it again
        return error


def _be_the_first_to_go() -> None:
    """Have the kernel choose this process when memory runs out, and not the worker; Linux only."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent() -> None:
    """End at once when the worker is gone, in the middle of a job too."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def run() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=run, name="parent", daemon=True).start()
