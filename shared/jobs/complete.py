"""A claimed job comes to its end, or goes back to its queue."""

from __future__ import annotations

import logging

from sqlalchemy import func
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions
from shared.errors import HemotriageError, PermanentError
from shared.jobs.claim import Claim, transition_held
from shared.jobs.outbox import announce
from shared.jobs.states import Status
from shared.triage.result import TriageResult

_log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 300


def complete(sessions: Sessions, held: Claim, result: TriageResult) -> bool:
    """Write the result and end the job as succeeded, in one transaction.

    Returns:
        Whether it counted; False where the claim was lost and another attempt has the job.
    """
    with sessions.begin() as session:
        row = transition_held(session, held, Status.SUCCEEDED, finished_at=func.clock_timestamp())
        if row is None:
            _log.warning("lost claim", extra={"job_id": str(held.job_id)})
            return False
        session.add(
            ResultRow(
                job_id=held.job_id,
                prediction=result.prediction,
                confidence=result.confidence,
                urgency=result.urgency,
                requires_review=result.requires_review,
                policy_version=result.policy_version,
                document=result.model_dump(mode="json"),
            )
        )
        audit.record(
            session, f"worker:{held.worker}", "job.succeeded", held.job_id, attempt=held.attempt
        )
    return True


def give_up(sessions: Sessions, held: Claim, error: Exception, *, max_attempts: int) -> None:
    """End an attempt that raised.

    A `PermanentError` fails the job at once. Anything else sends it back to its queue, later each
    time, until its attempts are used up and it is dead.
    """
    with sessions.begin() as session:
        if isinstance(error, PermanentError):
            _fail(session, held, error)
        elif held.attempt >= max_attempts:
            _bury(session, held, error)
        else:
            row = transition_held(session, held, Status.QUEUED, queued_at=func.clock_timestamp())
            if row is not None:
                delay = min(2.0**held.attempt, MAX_BACKOFF_SECONDS)
                announce(session, row, delay_seconds=delay)


def _fail(session: Session, held: Claim, error: HemotriageError) -> None:
    row = transition_held(
        session,
        held,
        Status.FAILED,
        finished_at=func.clock_timestamp(),
        error_code=error.code,
        error_detail=str(error),
    )
    _record_end(session, row, held.worker, "job.failed")


def _bury(session: Session, held: Claim, error: Exception) -> None:
    code = error.code if isinstance(error, HemotriageError) else HemotriageError.code
    row = transition_held(
        session,
        held,
        Status.DEAD,
        finished_at=func.clock_timestamp(),
        error_code=code,
        error_detail=f"The last of {held.attempt} attempts ended with {type(error).__name__}.",
    )
    _record_end(session, row, held.worker, "job.dead")


def _record_end(session: Session, row: JobRow | None, worker: str, action: str) -> None:
    if row is not None:
        audit.record(session, f"worker:{worker}", action, row.id, code=row.error_code)
