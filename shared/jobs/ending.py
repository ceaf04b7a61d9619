"""What every end of a job brings with it, in the transaction of that end."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CTE, ColumnElement, Text, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow
from shared.webhooks.events import recorded_ends


def told(ended: CTE, destinations: ColumnElement[Sequence[str]] | None = None) -> list[CTE]:
    """The parts of a statement that tell of the ends of jobs.

    They record them in the audit trail, the events that clients asked to be told of, and what is
    to be pushed.

    Args:
        ended: A row for each end: `job_id`, the `status` that it came to, the job's `callback_url`,
            and `actor` and `details` as in `audit.record`.
        destinations: URLs that the results of those which succeeded are pushed to; None: nowhere.
    """
    return [audit.recorded(ended, "job."), *recorded_ends(ended, destinations)]


def tell_end(session: Session, job: JobRow, actor: str, **details: object) -> None:
    """Tell of one end.

    Args:
        session: The open transaction.
        job: The job in its final state.
        actor: Who ended it, as in `audit.record`.
        details: Plain data for the audit trail.
    """
    ended = select(
        literal(job.id).label("job_id"),
        literal(job.status).label("status"),
        literal(job.callback_url, Text).label("callback_url"),
        literal(actor).label("actor"),
        literal(details, JSONB).label("details"),
    ).cte("ended")
    session.execute(select(ended.c.job_id).add_cte(*told(ended)))
