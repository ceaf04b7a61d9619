"""Events that somebody is told of, written in the transaction that makes them true."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Sequence

from sqlalchemy import CTE, ColumnElement, Select, func, insert, literal, or_, select, true, update

from shared.db.models import DicomSourceRow, WebhookRow
from shared.webhooks.destinations import Kind

SUPERSEDED = "superseded"
"""The error of an event whose job was queued again before it was delivered."""

_PREFIX = "job."
_SUCCEEDED = "succeeded"


def recorded_ends(
    ended: CTE, destinations: ColumnElement[Sequence[str]] | None = None
) -> list[CTE]:
    """The parts of a statement that write the events of jobs' ends, for clients that asked for it.

    An end before it, which an operator undid, is not told any more.

    Args:
        ended: As in `shared.jobs.ending.told`.
        destinations: The same.
    """
    earlier = (
        update(WebhookRow)
        .where(WebhookRow.job_id == ended.c.job_id, WebhookRow.next_attempt_at.is_not(None))
        .values(next_attempt_at=None, last_error=SUPERSEDED)
        .cte("superseded")
    )
    rows = select(
        func.gen_random_uuid(),
        ended.c.job_id,
        func.concat(literal(_PREFIX), ended.c.status),
        ended.c.callback_url,
    ).where(ended.c.callback_url.is_not(None))
    columns = ["id", "job_id", "event", "url"]
    parts = [earlier, insert(WebhookRow).from_select(columns, rows).cte("events")]
    if destinations is not None:
        pushed = _pushed(ended, destinations)
        parts.append(insert(WebhookRow).from_select(columns, pushed).cte("pushes"))
    return parts


def status_of(event: str) -> str:
    """The state of the job that an event tells of."""
    return event.removeprefix(_PREFIX)


def _pushed(
    ended: CTE, destinations: ColumnElement[Sequence[str]]
) -> Select[tuple[uuid.UUID, uuid.UUID, str, str]]:
    """An event for each success and each destination that takes it.

    A structured report is of a study: jobs whose images were no DICOM have none.
    """
    given = func.unnest(destinations).table_valued("url", name="destinations").render_derived()
    has_study = select(DicomSourceRow.job_id).where(DicomSourceRow.job_id == ended.c.job_id)
    return (
        select(func.gen_random_uuid(), ended.c.job_id, literal(_PREFIX + _SUCCEEDED), given.c.url)
        .join_from(ended, given, true())
        .where(
            ended.c.status == _SUCCEEDED,
            or_(func.lower(given.c.url).startswith(Kind.MLLP), has_study.exists()),
        )
    )


def payload(event: WebhookRow, error_code: str | None) -> bytes:
    """What a client is told: ids, the state and links, and nothing of a patient.

    The same event gives the same bytes each time.

    Args:
        event: The event, which was written at the end of the job.
        error_code: Why the job failed or died.
    """
    status = status_of(event.event)
    job = f"/v1/jobs/{event.job_id}"
    ended_at = event.created_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    document = {
        "type": event.event,
        "timestamp": ended_at,
        "data": {
            "job_id": str(event.job_id),
            "status": status,
            "links": {"self": job, "result": f"{job}/result" if status == _SUCCEEDED else None},
            "error": {"code": error_code} if error_code else None,
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()
