"""One job from its claim to its end."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from services.worker.batcher import NotNowError
from services.worker.grouping import Grouped
from services.worker.hands import Hands
from services.worker.metrics import count_result, count_return, stage
from services.worker.patience import Patience
from shared.db.session import Sessions
from shared.errors import HemotriageError
from shared.explanations.method import Method
from shared.jobs.claim import Claim, claim
from shared.jobs.complete import complete, give_up, hand_back
from shared.outage import is_outage
from shared.settings import Settings
from shared.telemetry.about import about
from shared.telemetry.tracing import Kind, Span, span
from shared.triage.result import TriageResult
from shared.webhooks.destinations import parse_destinations

_log = logging.getLogger(__name__)

MakeResult = Callable[[Claim], TriageResult]


class JobRunner:
    """Runs jobs; safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        hands: Hands,
        patience: Patience,
        *,
        together: MakeResult,
        alone: MakeResult,
    ) -> None:
        """Put the runner together.

        Args:
            settings: Lease, number of attempts, and whether results are explained unasked.
            sessions: The database.
            hands: Where claims are held while they are worked on.
            patience: For outages of the database.
            together: Makes the result of a job in this process, in a batch with others.
            alone: Makes the result of a job that is suspected of having crashed a worker.
        """
        self._settings = settings
        explained_by = settings.explain_results
        self._explained_by = None if explained_by == "off" else Method(explained_by)
        self._destinations = list(parse_destinations(settings.result_destinations))
        self._sessions = sessions
        self._hands = hands
        self._patience = patience
        self._together = together
        self._alone = alone
        self._claim = Grouped(self._claim_all, is_of_all=is_outage)
        self._complete = Grouped(self._complete_all, is_of_all=is_outage)

    def run(self, job_id: uuid.UUID, *, worker: str) -> None:
        """Run one queued job to its result. Safe to call any number of times for one job."""
        if self._hands.closed:
            return
        begun = time.time_ns()
        with about(job_id=str(job_id)):
            with stage("claim"):
                held = self._patience(lambda: self._claim((job_id, worker)))
            if held is not None:
                with about(**held.ids), self._hands.holding(held):
                    self._work(held, begun)

    def _work(self, held: Claim, begun: int) -> None:
        """Work on a claimed job, whose claim was asked for at `begun`, in nanoseconds."""
        _log.info("job claimed", extra={"attempt": held.attempt})
        parent = held.origin.traceparent
        with span("job", kind=Kind.CONSUMER, parent=parent, begun=begun) as working:
            working.note(hemotriage__job_id=str(held.job_id), hemotriage__attempt=held.attempt)
            ending = self._attempt(held, working)
            with span("complete"), stage("write"):
                self._patience(ending)
        _log.info("attempt ended", extra={"ms": (time.time_ns() - begun) // 1_000_000})

    def _attempt(self, held: Claim, working: Span) -> Callable[[], object]:
        """Work on the job; returns what is then to be written."""
        limit = self._settings.max_attempts
        try:
            result = self._alone(held) if held.isolated else self._together(held)
        except NotNowError as reason:
            count_return("handed_back")
            delay = reason.delay_seconds
            return partial(
                hand_back, self._sessions, [held], delay_seconds=delay, max_attempts=limit
            )
        except Exception as error:  # the job must end or go back, whatever was raised
            code = getattr(error, "code", HemotriageError.code)
            _log.warning("attempt failed", extra={"attempt": held.attempt}, exc_info=error)
            working.fail(code)
            count_return(code)
            return partial(give_up, self._sessions, held, error, max_attempts=limit)
        return partial(self._write, held, result)

    def _write(self, held: Claim, result: TriageResult) -> None:
        count_result(held, result, is_written=self._complete((held, result)))

    def _claim_all(self, asked: Sequence[tuple[uuid.UUID, str]]) -> list[Claim | None]:
        """Claim each job once, however often it is among them."""
        lease = self._settings.lease_seconds
        found: dict[tuple[uuid.UUID, str], Claim] = {}
        for worker in {worker for _, worker in asked}:
            job_ids = [job_id for job_id, of_worker in asked if of_worker == worker]
            claims = claim(self._sessions, job_ids, worker=worker, lease_seconds=lease)
            found |= {(job_id, worker): held for job_id, held in claims.items()}
        return [found.pop(one, None) for one in asked]

    def _complete_all(self, results: Sequence[tuple[Claim, TriageResult]]) -> list[bool]:
        counted = complete(
            self._sessions,
            results,
            explained_by=self._explained_by,
            destinations=self._destinations,
        )
        return [held in counted for held, _ in results]
