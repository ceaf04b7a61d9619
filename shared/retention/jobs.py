"""Removes jobs with all rows that belong to them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, Delete, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.db.models import (
    DicomSourceRow,
    ExplanationRow,
    JobImageRow,
    JobRow,
    OutboxRow,
    RemovedJobRow,
    ResultRow,
    ReviewRow,
    ShadowResultRow,
    WebhookRow,
)
from shared.retention.objects import give_up
from shared.storage import JOBS_PREFIX

# Each is removed before what it refers to.
_PARTS = (
    WebhookRow,
    OutboxRow,
    ShadowResultRow,
    ReviewRow,
    ExplanationRow,
    DicomSourceRow,
    ResultRow,
    JobImageRow,
)


def remove_jobs(
    session: Session,
    job_ids: Sequence[uuid.UUID],
    *,
    why: Literal["erased", "purged"],
    again_after: dt.timedelta,
    erasure_id: uuid.UUID | None = None,
) -> dict[str, int]:
    """Remove locked jobs in any state; their ids are kept, and their objects follow the commit.

    A worker that has one of them in hand finds its claim lost.

    Args:
        session: The open transaction, with the rows of the jobs locked.
        job_ids: The jobs.
        why: What is said to whoever asks for one of them.
        again_after: As in `objects.give_up`.
        erasure_id: The erasure that asked for it.

    Returns:
        How many rows of each table were removed; tables without one are left out.
    """
    if not job_ids:
        return {}
    counts = {}
    for row in _PARTS:
        counts[row.__tablename__] = _removed(session, delete(row).where(row.job_id.in_(job_ids)))
    last = delete(JobRow).where(JobRow.id.in_(job_ids)).returning(JobRow.id, JobRow.tenant)
    gone = session.execute(last, execution_options={"synchronize_session": False}).all()
    counts["jobs"] = len(gone)
    told = {"why": why, "erasure_id": erasure_id}
    values = [{"job_id": row.id, "tenant": row.tenant, **told} for row in gone]
    # After a restore they may be known already.
    session.execute(insert(RemovedJobRow).values(values).on_conflict_do_nothing())
    give_up_objects(session, job_ids, again_after=again_after)
    return {table: count for table, count in counts.items() if count}


def give_up_objects(
    session: Session, job_ids: Iterable[uuid.UUID], *, again_after: dt.timedelta
) -> None:
    """Have all objects of some jobs removed once the transaction has committed.

    Args:
        session: The open transaction.
        job_ids: The jobs, whether or not they have a row.
        again_after: As in `objects.give_up`.
    """
    keys = [f"{JOBS_PREFIX}{job_id}/" for job_id in job_ids]
    give_up(session, keys, again_after=again_after)


def _removed(session: Session, statement: Delete) -> int:
    ended = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], ended).rowcount
