"""The queue of explanations: a row each in PostgreSQL, a queue a method.

queued ──► running ──► succeeded
   ▲          │ └────► failed      it cannot succeed, or was tried too often
   └──────────┘                    an outage, an error, an explainer that stops

A message of the broker would have to be held for as long as LIME computes, and could be lost; a row
is held by a lease. Here one is asked for and read; `claim.py` has what an explainer does with it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Select, and_, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from shared import audit
from shared.db.models import ExplanationRow, JobImageRow, JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.errors import NoResultError, NotFoundError
from shared.explanations.method import Method
from shared.explanations.states import KEY, ExplanationState, ExplanationStatus, Subject

_TYPES = {name: ExplanationRow.__table__.c[name].type for name in KEY}


def request(sessions: Sessions, subject: Subject, *, actor: str) -> ExplanationState:
    """Ask for an explanation; one that was asked for before is read and nothing more.

    Args:
        sessions: The database.
        subject: What is to be explained.
        actor: Who asks, as in `audit.record`.

    Raises:
        NotFoundError: There is no such job, or no such image in it.
        NoResultError: The job has no result that could be explained.
    """
    found = _read(sessions, subject)
    if found is not None:
        return found
    execute(sessions, _REQUEST, {**_key_of(subject), "actor": actor})
    return read(sessions, subject)


def read(sessions: Sessions, subject: Subject) -> ExplanationState:
    """Read an explanation that was asked for.

    Raises:
        NotFoundError: It was not asked for, or there is nothing to explain.
        NoResultError: The job has no result.
    """
    found = _read(sessions, subject)
    if found is None:
        raise NotFoundError(f"The explanation {subject} was not asked for.")
    return found


def asked_with(results: CTE, method: Method) -> CTE:
    """The part of a statement that asks for an explanation of each field of new results.

    Args:
        results: Has the `job_id` of each.
        method: By which they are to be explained.
    """
    fields = select(JobImageRow.job_id, JobImageRow.index, literal(method)).where(
        JobImageRow.job_id == results.c.job_id
    )
    asked = insert(ExplanationRow).from_select(list(KEY), fields)
    # A result is more than its explanation: what is there already must not undo it.
    return asked.on_conflict_do_nothing().cte("explanations_asked")


def _key_of(subject: Subject) -> dict[str, Any]:
    return {f"of_{name}": value for name, value in subject.columns.items()}


def _read(sessions: Sessions, subject: Subject) -> ExplanationState | None:
    """An explanation; None where it was not asked for."""
    rows = execute(sessions, _READ, _key_of(subject))
    if not rows:
        raise NotFoundError(f"There is no job {subject.job_id}.")
    row = rows[0]
    if row.object_key is None:
        raise NotFoundError(f"The job has no image {subject.image_index}; they count from 0.")
    if row.prediction is None:
        raise NoResultError(f"The job is {row.job_status}.")
    if row.status is None:
        return None
    return ExplanationState(
        subject=subject,
        status=ExplanationStatus(row.status),
        progress=row.progress,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error_detail=row.error_detail,
        document=row.document,
        png_sha256=row.png_sha256,
    )


def _reading() -> Select[Any]:
    job_id, index, method = (bindparam(f"of_{name}", type_=_TYPES[name]) for name in KEY)
    return (
        select(
            JobRow.status.label("job_status"),
            JobImageRow.object_key,
            ResultRow.prediction,
            *ExplanationRow.__table__.c,
        )
        .select_from(JobRow)
        .outerjoin(JobImageRow, and_(JobImageRow.job_id == JobRow.id, JobImageRow.index == index))
        .outerjoin(ResultRow, ResultRow.job_id == JobRow.id)
        .outerjoin(
            ExplanationRow,
            and_(
                ExplanationRow.job_id == JobRow.id,
                ExplanationRow.image_index == index,
                ExplanationRow.method == method,
            ),
        )
        .where(JobRow.id == job_id)
    )


def _requesting() -> Select[Any]:
    """The statement that asks, for two who ask at once a single time."""
    key = [bindparam(f"of_{name}", type_=_TYPES[name]) for name in KEY]
    asked = (
        insert(ExplanationRow)
        .from_select(list(KEY), select(*key))
        .on_conflict_do_nothing()
        .returning(*(ExplanationRow.__table__.c[name] for name in KEY))
        .cte("asked")
    )
    event = select(
        asked.c.job_id,
        literal("requested").label("status"),
        bindparam("actor").label("actor"),
        func.jsonb_build_object(
            "image", asked.c.image_index, "method", asked.c.method, type_=JSONB
        ).label("details"),
    ).cte("event")
    return select(asked.c.job_id).add_cte(audit.recorded(event, "explanation."))


_READ = _reading()
_REQUEST = _requesting()
