"""Starts an explainer: `python -m services.worker.explainer`.

It is a process of its own, so that a picture that crashes it takes no job with it. One that has
LIME alone yields to all other processes: its minutes of computing slow no triage down.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from services.worker.explain import Explain, ExplainableModels, Stored
from services.worker.patience import Patience
from shared.db.listen import LOOK_SECONDS, Listener
from shared.db.session import Sessions, create_database, create_sessions
from shared.errors import AttemptHungError
from shared.explanations.claim import claim, complete, give_up, hand_back, renew
from shared.explanations.method import Method, Progress
from shared.explanations.states import ExplanationClaim
from shared.heartbeat import beat
from shared.logging import configure_logging
from shared.metrics import serve_metrics
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.telemetry.about import about
from shared.telemetry.tracing import Kind, configure_tracing, span

_log = logging.getLogger(__name__)

_NICENESS = 10
_PATIENCE_SECONDS = 30.0
_BEATS_A_LEASE = 4
_HOUSEKEEPERS = 2  # connections besides those of the methods' threads: heartbeat and listener

MakeExplanation = Callable[[ExplanationClaim, Progress], Stored]


class ClaimLostError(Exception):
    """Another explainer has it: the lease ran out before it was renewed."""


@dataclass(eq=False)
class _Work:
    """A claim in hand, how far the work is, and for how many heartbeats it has not moved."""

    held: ExplanationClaim
    progress: float = 0.0
    still: int = 0
    is_done: bool = False
    is_lost: bool = False

    def moved(self, progress: float) -> None:
        if self.is_lost:
            raise ClaimLostError
        self.progress = progress
        self.still = 0


class Explainer:
    """Takes explanations, with a thread for each method, until it is closed."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        make: MakeExplanation,
        stopping: threading.Event,
    ) -> None:
        """Put it together; nothing is taken before `start`.

        Args:
            settings: The methods, the lease, the number of attempts and the limit of work.
            sessions: The database, with a connection for each method and one for `beat`.
            make: Makes an explanation and stores its picture.
            stopping: Ends what waits for a server.
        """
        self._settings = settings
        self._sessions = sessions
        self._make = make
        # What took minutes to compute is not thrown away because the database restarts.
        self._patience = Patience(seconds=math.inf, stopping=stopping)
        self._worker = f"explainer-{os.getpid()}@{socket.gethostname()}"
        self._works: list[_Work] = []
        self._taking = threading.Lock()
        self._closed = False
        methods = [Method(name) for name in settings.explainer_methods.split(",")]
        self._asked = {method: threading.Event() for method in methods}
        self._threads = [
            threading.Thread(target=self._run, args=(method,), name=method, daemon=True)
            for method in self._asked
        ]

    @property
    def beat_seconds(self) -> float:
        """How long to wait between two heartbeats."""
        return self._settings.lease_seconds / _BEATS_A_LEASE

    def start(self) -> None:
        """Take what waits, and whatever comes."""
        for thread in self._threads:
            thread.start()

    def wake(self, method: str) -> None:
        """Have a method's queue looked at now."""
        if method in self._asked:
            self._asked[Method(method)].set()

    def beat(self) -> None:
        """Renew the leases of what is in hand, and tell how far it is.

        Work that has not moved for longer than its limit hangs: the process ends.
        """
        for work in list(self._works):
            work.still += not work.is_done  # what is done waits for the database at most
            if work.still * self.beat_seconds > self._settings.work_limit_seconds:
                self._leave_hung(work)
            try:
                lease = self._settings.lease_seconds
                holds = renew(
                    self._sessions, work.held, lease_seconds=lease, progress=work.progress
                )
                work.is_lost = not holds
            except SQLAlchemyError as error:
                _log.warning("no heartbeat", extra={"error": type(error).__name__})
            except Exception:  # without heartbeats all that is in hand would be lost
                _log.exception("no heartbeat")
        if all(thread.is_alive() for thread in self._threads):
            beat("explainer")

    def close(self) -> None:
        """Take nothing more, and hand back what is in hand; it does not count as a failure."""
        with self._taking:
            self._closed = True
        for asked in self._asked.values():
            asked.set()
        for work in list(self._works):
            self._part_with(work, partial(hand_back, self._sessions, work.held))

    def _leave_hung(self, hung: _Work) -> None:
        try:
            _log.error("work hangs", extra=_ids(hung))
            self._works.remove(hung)
            limit = self._settings.max_attempts
            error = AttemptHungError()
            self._part_with(
                hung, partial(give_up, self._sessions, hung.held, error, max_attempts=limit)
            )
            self.close()
        finally:
            os._exit(os.EX_SOFTWARE)

    def _part_with(self, work: _Work, write: Callable[[], object]) -> None:
        try:
            write()
        except SQLAlchemyError as error:  # its lease runs out
            _log.error("not handed back", extra={**_ids(work), "error": type(error).__name__})

    def _run(self, method: Method) -> None:
        asked = self._asked[method]
        while not self._closed:
            asked.clear()
            try:
                while (work := self._take(method)) is not None:
                    self._finish(work)
            except SQLAlchemyError as error:
                _log.warning("waiting for the database", extra={"error": type(error).__name__})
            except Exception:  # the thread must outlive whatever it meets
                _log.exception("explanations wait")
            asked.wait(LOOK_SECONDS)

    def _take(self, method: Method) -> _Work | None:
        # Under a lock: what is claimed while the process leaves must be handed back.
        with self._taking:
            if self._closed:
                return None
            held = claim(
                self._sessions,
                method,
                worker=self._worker,
                lease_seconds=self._settings.lease_seconds,
                max_attempts=self._settings.max_attempts,
            )
            if held is None:
                return None
            work = _Work(held)
            self._works.append(work)
            return work

    def _finish(self, work: _Work) -> None:
        held = work.held
        parent = held.origin.traceparent
        try:
            with about(**held.ids), span("explanation", kind=Kind.CONSUMER, parent=parent):
                ending = self._ending(work)
                work.is_done = True
                self._patience(ending)
        finally:
            self._works.remove(work)

    def _ending(self, work: _Work) -> Callable[[], object]:
        """Work on a claim; returns what is then to be written."""
        try:
            stored = self._make(work.held, work.moved)
        except ClaimLostError:
            _log.warning("lost claim", extra=_ids(work))
            return bool
        except Exception as error:  # it must end or go back, whatever was raised
            _log.warning("attempt failed", extra=_ids(work), exc_info=error)
            limit = self._settings.max_attempts
            return partial(give_up, self._sessions, work.held, error, max_attempts=limit)
        _log.info("explained", extra=_ids(work))
        return partial(complete, self._sessions, work.held, stored.document, stored.png_sha256)


def _ids(work: _Work) -> dict[str, object]:
    held = work.held
    return {**held.ids, "attempt": held.attempt}


def main() -> int:
    """Explain until SIGTERM; what runs then is handed back, and the process ends at once."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = Settings()
    configure_logging(settings.log_level, service="explainer")
    configure_tracing(settings, service="explainer")
    serve_metrics(settings)
    methods = settings.explainer_methods.split(",")
    if Method.GRADCAM not in methods:  # for which somebody sits and waits
        os.nice(_NICENESS)
    database = create_database(settings, pool_size=len(methods) + _HOUSEKEEPERS)
    sessions = create_sessions(database)
    storage = S3Store(settings, pool_size=len(methods))
    make = Explain(
        storage,
        ExplainableModels(settings, Catalogue(settings, sessions, storage)),
        Patience(seconds=_PATIENCE_SECONDS, stopping=stopping),
        max_pixels=settings.max_pixels,
    )
    explainer = Explainer(settings, sessions, make, stopping)
    explainer.start()
    Listener(database, "explanation_requested", heard=explainer.wake).start()
    while not stopping.wait(explainer.beat_seconds):
        explainer.beat()
    explainer.close()
    # A thread may be deep in a model, and would be waited for.
    os._exit(os.EX_OK)


if __name__ == "__main__":
    sys.exit(main())
