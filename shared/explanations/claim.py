"""An explainer takes explanations, under a lease that it renews while it works on them.

All times are of the database's clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Interval,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from shared.db.models import ExplanationRow, JobImageRow, JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.explanations.method import Method
from shared.explanations.states import KEY, ExplanationClaim, ExplanationStatus, Subject
from shared.telemetry.about import Origin
from shared.verdict import verdict_on

ABANDONED = "explanation_abandoned"
"""The code of one that was tried as often as allowed."""

_BACKOFF_SECONDS = 5.0
_NOW = func.clock_timestamp()
_LEASE = bindparam("lease", type_=Interval)


def claim(
    sessions: Sessions, method: Method, *, worker: str, lease_seconds: float, max_attempts: int
) -> ExplanationClaim | None:
    """Claim what comes first in a method's queue, for one attempt; None: nothing waits.

    First comes what a client waits for now, the newest wait before the others: that client is the
    surest to be there still, nobody waits behind the many fields of somebody's page, and whoever
    asks again comes first again. Then, the oldest first, what was asked for, and what was not.

    One whose explainer fell silent is taken from it, which counts as a failure. With the last that
    is allowed it is given up as failed, in the same statement.
    """
    values = {
        "queue": method,
        "by_worker": worker,
        "lease": dt.timedelta(seconds=lease_seconds),
        "max_attempts": max_attempts,
    }
    for row in execute(sessions, _CLAIM, values):
        return ExplanationClaim(
            subject=Subject(row.job_id, row.image_index, method),
            worker=worker,
            attempt=row.attempts,
            failures=row.failures,
            model_name=row.model_name,
            model_version=row.model_version,
            object_key=row.object_key,
            image_sha256=row.sha256,
            prediction=row.prediction,
            origin=Origin(row.request_id, row.traceparent),
        )
    return None


def renew(
    sessions: Sessions, held: ExplanationClaim, *, lease_seconds: float, progress: float
) -> bool:
    """Extend a lease and tell how far the work is; False where the claim was lost."""
    lease = func.clock_timestamp() + dt.timedelta(seconds=lease_seconds)
    return _change(sessions, held, lease_expires_at=lease, progress=progress)


def complete(
    sessions: Sessions, held: ExplanationClaim, document: Mapping[str, Any], png_sha256: str
) -> bool:
    """End an explanation whose picture is in the object store; False where the claim was lost."""
    return _change(
        sessions,
        held,
        **_left(ExplanationStatus.SUCCEEDED, ended=True),
        progress=1.0,
        document=dict(document),
        png_sha256=png_sha256,
    )


def give_up(
    sessions: Sessions, held: ExplanationClaim, error: Exception, *, max_attempts: int
) -> None:
    """End an attempt that raised, as `shared.verdict` has it."""
    verdict = verdict_on(
        error, failures=held.failures, max_attempts=max_attempts, abandoned=ABANDONED
    )
    values: dict[str, Any] = {"failures": ExplanationRow.failures + int(verdict.counts)}
    if verdict.code is None:
        hand_back(sessions, held, delay_seconds=_BACKOFF_SECONDS, **values)
    else:
        failed = _left(ExplanationStatus.FAILED, ended=True)
        why = {"error_code": verdict.code, "error_detail": verdict.detail}
        _change(sessions, held, **failed, **why, **values)


def hand_back(
    sessions: Sessions, held: ExplanationClaim, *, delay_seconds: float = 0, **values: Any
) -> None:
    """Put a claimed explanation back into its queue, for whoever takes it after the delay."""
    due = func.clock_timestamp() + dt.timedelta(seconds=delay_seconds)
    back = _left(ExplanationStatus.QUEUED, ended=False)
    _change(sessions, held, **back, progress=0.0, due_at=due, **values)


def _left(status: ExplanationStatus, *, ended: bool) -> dict[str, Any]:
    """The columns of an explanation that leaves the hands of its explainer."""
    finished = {"finished_at": func.clock_timestamp()} if ended else {}
    return {"status": status, "worker": None, "lease_expires_at": None, **finished}


def _change(sessions: Sessions, held: ExplanationClaim, **values: Any) -> bool:
    """One guarded UPDATE; False where the claim was lost."""
    statement = (
        update(ExplanationRow)
        .where(
            *(getattr(ExplanationRow, name) == of for name, of in held.subject.columns.items()),
            ExplanationRow.worker == held.worker,
            ExplanationRow.attempts == held.attempt,
        )
        .values(**values)
        .returning(ExplanationRow.attempts)
    )
    return bool(execute(sessions, statement))


def _claiming() -> Executable:
    """The statement that takes what comes first, and gives up what was tried too often."""
    row = ExplanationRow
    # A time further ahead than any was written before the clock was set back, and is over too.
    furthest = _NOW + dt.timedelta(seconds=_BACKOFF_SECONDS)
    is_due = and_(
        row.status == ExplanationStatus.QUEUED, or_(row.due_at <= _NOW, row.due_at > furthest)
    )
    is_silent = and_(
        row.status == ExplanationStatus.RUNNING,
        or_(row.lease_expires_at < _NOW, row.lease_expires_at > _NOW + _LEASE + _LEASE),
    )
    is_spent = row.failures + 1 >= bindparam("max_attempts")
    waiting = _locked(or_(is_due, and_(is_silent, ~is_spent)))
    first = (row.asked.desc(), row.wanted_at.desc().nulls_last(), row.due_at)  # as in the index
    taken = waiting.order_by(*first).limit(1).cte("taken")
    prediction = ResultRow.document["images"][row.image_index]["prediction"].as_string()
    return (
        update(row)
        .where(
            *_is_of(taken),
            JobRow.id == row.job_id,
            JobImageRow.job_id == row.job_id,
            JobImageRow.index == row.image_index,
            ResultRow.job_id == row.job_id,
        )
        .values(
            status=ExplanationStatus.RUNNING,
            worker=bindparam("by_worker"),
            lease_expires_at=_NOW + _LEASE,
            attempts=row.attempts + 1,
            failures=row.failures + case((row.status == ExplanationStatus.RUNNING, 1), else_=0),
            started_at=func.coalesce(row.started_at, _NOW),
            progress=0.0,
        )
        .returning(
            *(row.job_id, row.image_index, row.attempts, row.failures),
            *(JobRow.model_name, JobRow.model_version),
            *(JobRow.request_id, JobRow.traceparent),
            *(JobImageRow.object_key, JobImageRow.sha256),
            prediction.label("prediction"),
        )
        .add_cte(_giving_up(_locked(and_(is_silent, is_spent)).cte("spent")))
    )


def _giving_up(spent: CTE) -> CTE:
    return (
        update(ExplanationRow)
        .where(*_is_of(spent))
        .values(
            **_left(ExplanationStatus.FAILED, ended=True),
            failures=ExplanationRow.failures + 1,
            error_code=ABANDONED,
            error_detail="The explainer of its last attempt fell silent.",
        )
        .cte("given_up")
    )


def _is_of(found: CTE) -> list[ColumnElement[bool]]:
    return [ExplanationRow.__table__.c[name] == found.c[name] for name in KEY]


def _locked(condition: ColumnElement[bool]) -> Select[Any]:
    """The keys of a queue's rows of which it holds, with the rows locked that nobody else has."""
    return (
        select(*(ExplanationRow.__table__.c[name] for name in KEY))
        .where(
            ExplanationRow.method == bindparam("queue"),
            ExplanationRow.finished_at.is_(None),  # what the index of the queues is over
            condition,
        )
        .with_for_update(skip_locked=True)
    )


_CLAIM = _claiming()
