"""The queue of explanations: a row each in PostgreSQL, a queue a method.

queued ──► running ──► succeeded ──► queued   its picture was lost
   ▲          │ └────► failed ─────► queued   it is asked for again, a while later
   └──────────┘                               an outage, an error, an explainer that stops

A message of the broker would have to be held for as long as LIME computes, and could be lost; a row
is held by a lease. Here one is asked for and read; `claim.py` has what an explainer does with it.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    Boolean,
    ColumnElement,
    Executable,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    false,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from shared import audit
from shared.auth.tenants import within_asked
from shared.db.models import ExplanationRow, JobImageRow, JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.errors import NoResultError, NotFoundError
from shared.explanations.method import Method
from shared.explanations.states import (
    KEY,
    RETRIED_AFTER_SECONDS,
    ExplanationState,
    ExplanationStatus,
    Subject,
)
from shared.retention.removed import ImagePurgedError, unknown_job

_KEY_COLUMNS = [ExplanationRow.__table__.c[name] for name in KEY]
_OF_THE_END = ("finished_at", "error_code", "error_detail", "document", "png_sha256")


def request(
    sessions: Sessions,
    subject: Subject,
    *,
    tenant: str | None,
    actor: str,
    most: int,
    waits: bool = False,
    lost: ExplanationState | None = None,
) -> ExplanationState | None:
    """Ask for an explanation; one that was asked for before is read, and tried again if it must.

    Args:
        sessions: The database.
        subject: What is to be explained.
        tenant: Whose job it is.
        actor: Who asks, as in `audit.record`.
        most: How many may be open in the method's queue, of those that somebody asked for.
        waits: Whether a client sits and waits for it, which lets it pass the others.
        lost: As it was read by whoever found its picture gone: it is made again.

    Returns:
        Where it stands now; None where the queue is full.

    Raises:
        NotFoundError: The tenant has no such job, or it no such image.
        NoResultError: The job has no result that could be explained.
        ImagePurgedError: The image is not kept any more.
    """
    found = _read(sessions, subject, tenant)
    values = {**_key_of(subject), "actor": actor, "most": most, "waits": waits}
    if found is None:
        execute(sessions, _REQUEST, values)
        return _read(sessions, subject, tenant)
    is_lost = lost is not None and lost.finished_at == found.finished_at
    if is_lost and not found.has_image:
        raise ImagePurgedError(f"Image {subject.image_index}, and its explanation is lost.")
    if found.is_retriable or is_lost:
        execute(sessions, _REPEAT, {**values, "ended_at": found.finished_at})
        repeated = read(sessions, subject, tenant=tenant)
        return None if repeated.finished_at == found.finished_at else repeated
    if not found.status.is_final and (waits or not found.asked):
        execute(sessions, _WANT, values)
    return found


def read(sessions: Sessions, subject: Subject, *, tenant: str | None) -> ExplanationState:
    """Read an explanation that was asked for.

    Raises:
        NotFoundError: It was not asked for, or the tenant has nothing there to explain.
        NoResultError: The job has no result.
    """
    found = _read(sessions, subject, tenant)
    if found is None:
        raise NotFoundError(f"The explanation {subject} was not asked for.")
    return found


def asked_with(results: CTE, method: Method) -> CTE:
    """The part of a statement that has each field of new results explained, unasked.

    Args:
        results: Has the `job_id` of each.
        method: By which they are to be explained.
    """
    fields = select(JobImageRow.job_id, JobImageRow.index, literal(method), false()).where(
        JobImageRow.job_id == results.c.job_id
    )
    asked = insert(ExplanationRow).from_select([*KEY, "asked"], fields)
    # A result is more than its explanation: what is there already must not undo it.
    return asked.on_conflict_do_nothing().cte("explanations_asked")


def _key_of(subject: Subject) -> dict[str, Any]:
    return {f"of_{name}": value for name, value in subject.columns.items()}


def _read(sessions: Sessions, subject: Subject, tenant: str | None) -> ExplanationState | None:
    """An explanation; None where it was not asked for."""
    rows = execute(sessions, _READ, {**_key_of(subject), "tenant": tenant})
    if not rows:
        raise unknown_job(sessions, subject.job_id, tenant=tenant)
    row = rows[0]
    if row.object_key is None:
        raise NotFoundError(f"The job has no image {subject.image_index}; they count from 0.")
    if row.prediction is None:
        raise NoResultError(f"The job is {row.job_status}.")
    if row.purged_at is not None and row.status != ExplanationStatus.SUCCEEDED:
        raise ImagePurgedError(f"Image {subject.image_index}, on {row.purged_at:%Y-%m-%d}.")
    if row.status is None:
        return None
    return ExplanationState(
        subject=subject,
        status=ExplanationStatus(row.status),
        asked=row.asked,
        is_retriable=row.is_retriable,
        has_image=row.purged_at is None,
        progress=row.progress,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error_detail=row.error_detail,
        document=row.document,
        png_sha256=row.png_sha256,
    )


def _reading() -> Select[Any]:
    job_id, index, method = _key_parameters()
    return (
        select(
            JobRow.status.label("job_status"),
            JobImageRow.object_key,
            JobImageRow.purged_at,
            ResultRow.prediction,
            *ExplanationRow.__table__.c,
            _is_retriable().label("is_retriable"),
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
        .where(JobRow.id == job_id, within_asked(JobRow.tenant))
    )


def _is_retriable() -> ColumnElement[bool]:
    """Whether it failed a while ago; so it did if the clock was set back since."""
    age = func.clock_timestamp() - ExplanationRow.finished_at
    retried_after = dt.timedelta(seconds=RETRIED_AFTER_SECONDS)
    return and_(
        ExplanationRow.status == ExplanationStatus.FAILED,
        or_(age > retried_after, age < dt.timedelta(0)),
    )


def _key_parameters() -> list[BindParameter[Any]]:
    return [bindparam(f"of_{column.name}", type_=column.type) for column in _KEY_COLUMNS]


def _is_of_key() -> list[ColumnElement[bool]]:
    return [column == of for column, of in zip(_KEY_COLUMNS, _key_parameters(), strict=True)]


def _wanted_at(otherwise: Any) -> ColumnElement[Any]:
    return case((bindparam("waits", type_=Boolean), func.clock_timestamp()), else_=otherwise)


def _has_room() -> ColumnElement[bool]:
    """Whether one more may be asked for in the method's queue."""
    row, most = ExplanationRow, bindparam("most", type_=Integer)
    method = _key_parameters()[KEY.index("method")]
    waiting = (
        select(row.job_id)
        .where(row.method == method, row.asked, row.finished_at.is_(None))
        .limit(most)
        .subquery()
    )
    return select(func.count()).select_from(waiting).scalar_subquery() < most


def _requesting() -> Select[Any]:
    """The statement that asks, for two who ask at once a single time."""
    row = select(*_key_parameters(), _wanted_at(null())).where(_has_room())
    asked = insert(ExplanationRow).from_select([*KEY, "wanted_at"], row).on_conflict_do_nothing()
    return _recorded(asked.returning(*_KEY_COLUMNS).cte("asked"))


def _repeating() -> Select[Any]:
    """The statement that asks again for what has ended, unless somebody did since it was read."""
    now = func.clock_timestamp()
    asked = (
        update(ExplanationRow)
        .where(*_is_of_key(), ExplanationRow.finished_at == bindparam("ended_at"), _has_room())
        .values(
            status=ExplanationStatus.QUEUED,
            progress=0.0,
            failures=0,
            asked=True,
            wanted_at=_wanted_at(null()),
            requested_at=now,
            due_at=now,
            **dict.fromkeys(_OF_THE_END),
        )
    )
    return _recorded(asked.returning(*_KEY_COLUMNS).cte("asked"))


def _wanting() -> Executable:
    """The statement that lets one that is open pass those that nobody asked or waits for."""
    wanted_at = _wanted_at(ExplanationRow.wanted_at)
    return (
        update(ExplanationRow)
        .where(*_is_of_key(), ExplanationRow.finished_at.is_(None))
        .values(asked=True, wanted_at=wanted_at)
    )


def _recorded(asked: CTE) -> Select[Any]:
    """A statement with the part that asks, and the events of it."""
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
_REPEAT = _repeating()
_WANT = _wanting()
