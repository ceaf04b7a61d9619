"""A claimed job comes to its end, or goes back to its queue."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import (
    ARRAY,
    JSON,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.errors import (
    AttemptCrashedError,
    AttemptHungError,
    DoubtfulError,
    HemotriageError,
    PermanentError,
    TransientError,
)
from shared.explanations.method import Method
from shared.explanations.queue import asked_with
from shared.jobs.claim import Claim, transition_held
from shared.jobs.ending import tell_end, told
from shared.jobs.outbox import announce
from shared.jobs.states import Status, is_named, locked_in_order, moved
from shared.triage.result import TriageResult

_log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 30.0
_MOST_DOUBLINGS = 5
_OF_RESULT = (
    "prediction",
    "confidence",
    "urgency",
    "requires_review",
    "policy_version",
    "document",
)


def complete(
    sessions: Sessions,
    results: Sequence[tuple[Claim, TriageResult]],
    *,
    explained_by: Method | None = None,
    destinations: Collection[str] = (),
) -> set[Claim]:
    """Write results and end their jobs as succeeded, in one transaction.

    Args:
        sessions: The database.
        results: Each with the claim of its job.
        explained_by: A method by which each of their fields is to be explained, unasked.
        destinations: URLs that the results are to be pushed to.

    Returns:
        The claims whose result counted. The others were lost, and another attempt has the job.

    Raises:
        ValueError: A result is of another job.
    """
    for held, result in results:
        if result.job_id != str(held.job_id):
            raise ValueError(f"a result of job {result.job_id} for job {held.job_id}")
    held_by = {(held.job_id, held.attempt): held for held, _ in results}
    values = {
        "job_ids": [held.job_id for held, _ in results],
        "results": [_columns(*one) for one in results],
    }
    if destinations:
        values["destinations"] = list(destinations)
    rows = execute(sessions, _COMPLETE[explained_by, bool(destinations)], values)
    counted = {held_by[row.job_id, row.attempt] for row in rows}
    for held, _ in results:
        if held not in counted:
            _log.warning("lost claim", extra=held.ids)
    return counted


def _columns(held: Claim, result: TriageResult) -> dict[str, object]:
    return {
        "job_id": str(held.job_id),
        "worker": held.worker,
        "attempt": held.attempt,
        "actor": _actor(held),
        "prediction": result.prediction,
        "confidence": result.confidence,
        "urgency": result.urgency,
        "requires_review": result.requires_review,
        "policy_version": result.policy_version,
        "document": result.model_dump(mode="json"),
    }


def _completion(explained_by: Method | None, *, is_pushed: bool) -> Select[tuple[uuid.UUID, int]]:
    """The statement that ends jobs with their results; one, and so a transaction in one trip."""
    keys = [column("job_id", Uuid), column("worker", Text), column("attempt", Integer)]
    of_result = [column(name, ResultRow.__table__.c[name].type) for name in _OF_RESULT]
    given = (
        select(
            func.json_to_recordset(bindparam("results", type_=JSON))
            .table_valued(*keys, column("actor", Text), *of_result, name="r")
            .render_derived(with_types=True)
        )
    ).cte("given")
    ended = (
        moved(
            Status.SUCCEEDED,
            JobRow.id.in_(locked_in_order()),
            is_named(),
            JobRow.id == given.c.job_id,
            JobRow.worker == given.c.worker,
            JobRow.attempts == given.c.attempt,
            finished_at=func.clock_timestamp(),
        )
        .returning(
            given,
            JobRow.status,
            JobRow.tenant,
            JobRow.callback_url,
            func.jsonb_build_object("attempt", given.c.attempt).label("details"),
        )
        .cte("ended")
    )
    columns = ["job_id", "tenant", *_OF_RESULT]
    rows = select(*(ended.c[name] for name in columns))
    kept = insert(ResultRow).from_select(columns, rows).cte("kept")
    asked = [] if explained_by is None else [asked_with(ended, explained_by)]
    pushed_to = bindparam("destinations", type_=ARRAY(Text)) if is_pushed else None
    return select(ended.c.job_id, ended.c.attempt).add_cte(kept, *asked, *told(ended, pushed_to))


_COMPLETE = {
    (method, is_pushed): _completion(method, is_pushed=is_pushed)
    for method in (None, *Method)
    for is_pushed in (False, True)
}
"""By the method that explains the results, and whether they are pushed: each part is there only
where it is needed."""


def give_up(sessions: Sessions, held: Claim, error: Exception, *, max_attempts: int) -> None:
    """End an attempt that raised.

    A `PermanentError` fails the job at once. A `TransientError` is an outage of something else: the
    job goes back to its queue, later each time, until it expires. Anything else counts against
    the job, and after `max_attempts` of it the job is dead. After a crash it runs alone, and so
    it does after an error that nobody foresaw, which may be this process's and not the job's. A
    `DoubtfulError` is of that kind until the job has run alone, and of the first kind then.
    """
    if isinstance(error, DoubtfulError) and not held.isolated:
        _count(sessions, held, error, max_attempts)
    elif isinstance(error, PermanentError):
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
    is_suspect = (
        crashed or isinstance(error, DoubtfulError) or not isinstance(error, HemotriageError)
    )
    counted = {"failures": JobRow.failures + 1, "isolated": JobRow.isolated | is_suspect}
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
