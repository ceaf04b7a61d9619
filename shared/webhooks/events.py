"""Events that clients are told of, written in the transaction that makes them true."""

from __future__ import annotations

import datetime as dt
import json

from sqlalchemy import CTE, func, insert, literal, select, update

from shared.db.models import WebhookRow

SUPERSEDED = "superseded"
"""The error of an event whose job was queued again before it was delivered."""

_PREFIX = "job."
_SUCCEEDED = "succeeded"


def recorded_ends(ended: CTE) -> list[CTE]:
    """The parts of a statement that write the events of jobs' ends, for clients that asked for it.

    An end before it, which an operator undid, is not told any more.

    Args:
        ended: As in `shared.jobs.ending.told`.
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
    return [earlier, insert(WebhookRow).from_select(columns, rows).cte("events")]


def status_of(event: str) -> str:
    """The state of the job that an event tells of."""
    return event.removeprefix(_PREFIX)


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
