"""A claimed job comes to its end, or goes back to its queue."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from sqlalchemy import func, insert
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions
from shared.errors import (
    AttemptCrashedError,
    AttemptHungError,
    HemotriageError,
    PermanentError,
    TransientError,
)
from shared.jobs.claim import Claim, are_held, transition_held
from shared.jobs.ending import tell_end
from shared.jobs.outbox import announce
from shared.jobs.states import Status, lock_in_order, transition_many
from shared.triage.result import TriageResult

_log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 30.0
_MOST_DOUBLINGS = 5


def complete(sessions: Sessions, results: Sequence[tuple[Claim, TriageResult]]) -> set[Claim]:
    """Write results and end their jobs as succeeded, in one transaction.

    Returns:
        The claims whose result counted. The others were lost, and another attempt has the job.

    Raises:
        ValueError: A result is of another job.
    """
    for held, result in results:
        if result.job_id != str(held.job_id):
            raise ValueError(f"a result of job {result.job_id} for job {held.job_id}")
    attempts = {(held.job_id, held.attempt): (held, result) for held, result in results}
    with sessions.begin() as session:
        if len(results) > 1:
            lock_in_order(session, [held.job_id for held, _ in results])
        rows = transition_many(
            session,
            Status.SUCCEEDED,
            are_held(held for held, _ in results),
            finished_at=func.clock_timestamp(),
        )
        counted = [attempts[row.id, row.attempts] for row in rows]
        if counted:
            session.execute(insert(ResultRow), [_columns(*one) for one in counted])
        for row, (held, _) in zip(rows, counted, strict=True):
            tell_end(session, row, _actor(held), attempt=held.attempt)
    won = {held for held, _ in counted}
    for held, _ in results:
        if held not in won:
            _log.warning("lost claim", extra={"job_id": str(held.job_id)})
    return won


def _columns(held: Claim, result: TriageResult) -> dict[str, object]:
    return {
        "job_id": held.job_id,
        "prediction": result.prediction,
        "confidence": result.confidence,
        "urgency": result.urgency,
        "requires_review": result.requires_review,
        "policy_version": result.policy_version,
        "document": result.model_dump(mode="json"),
    }


def give_up(sessions: Sessions, held: Claim, error: Exception, *, max_attempts: int) -> None:
    """End an attempt that raised.

    A `PermanentError` fails the job at once. A `TransientError` is an outage of something else: the
    job goes back to its queue, later each time, until it expires. Anything else counts against
    the job, and after `max_attempts` of it the job is dead; after a crash it runs alone.
    """
    if isinstance(error, PermanentError):
        _fail(sessions, held, error)
    elif isinstance(error, TransientError):
        _retry(sessions, held, error)
    else:
        _count(sessions, held, error, max_attempts)


def hand_back(
    sessions: Sessions,
    claims: Sequence[Claim],
    *,
    suspects: Collection[Claim] = (),
    delay_seconds: float = 0,
    max_attempts: int,
) -> None:
    """Put claimed jobs back into their queues, for another worker.

    Nothing counts against them, but for the suspects, in whose hands this worker hangs: they are
    retried alone, or dead after `max_attempts`.
    """
    for held in claims:
        if held in suspects:
            _count(sessions, held, AttemptHungError(), max_attempts)
        else:
            with sessions.begin() as session:
                _requeue(session, held, "handed_back", delay_seconds=delay_seconds)


def _fail(sessions: Sessions, held: Claim, error: HemotriageError) -> None:
    with sessions.begin() as session:
        row = transition_held(
            session,
            held,
            Status.FAILED,
            finished_at=func.clock_timestamp(),
            error_code=error.code,
            error_detail=str(error),
        )
        if row is not None:
            tell_end(session, row, _actor(held), code=error.code)


def _retry(sessions: Sessions, held: Claim, error: HemotriageError) -> None:
    with sessions.begin() as session:
        _requeue(session, held, error.code, delay_seconds=_backoff(held))


def _count(sessions: Sessions, held: Claim, error: Exception, max_attempts: int) -> None:
    code = error.code if isinstance(error, HemotriageError) else HemotriageError.code
    crashed = isinstance(error, AttemptCrashedError)
    counted = {"failures": JobRow.failures + 1, "isolated": JobRow.isolated | crashed}
    with sessions.begin() as session:
        row = transition_held(
            session,
            held,
            Status.DEAD,
            JobRow.failures + 1 >= max_attempts,
            finished_at=func.clock_timestamp(),
            error_code=code,
            error_detail=_reason(error),
            **counted,
        )
        if row is not None:
            tell_end(session, row, _actor(held), code=code)
        else:
            delay = 0 if crashed else _backoff(held)
            _requeue(session, held, code, delay_seconds=delay, **counted)


def _requeue(
    session: Session, held: Claim, code: str, *, delay_seconds: float = 0, **values: object
) -> None:
    row = transition_held(session, held, Status.QUEUED, **values)
    if row is not None:
        announce(session, row, delay_seconds=delay_seconds)
        audit.record(session, _actor(held), "job.requeued", row.id, code=code, attempt=held.attempt)


def _backoff(held: Claim) -> float:
    # An outage may go on for thousands of attempts.
    return min(2.0 ** min(held.attempt, _MOST_DOUBLINGS), MAX_BACKOFF_SECONDS)


def _reason(error: Exception) -> str:
    """Of our own errors the text; of others the type alone, since their text may hold anything."""
    text = str(error) if isinstance(error, HemotriageError) else type(error).__name__
    return f"Its last attempt: {text}"


def _actor(held: Claim) -> str:
    return f"worker:{held.worker}"
