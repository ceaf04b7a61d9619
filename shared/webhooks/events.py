"""Events that clients are told of, written in the transaction that makes them true."""

from __future__ import annotations

import datetime as dt
import json
import uuid

from sqlalchemy import update
from sqlalchemy.orm import Session

from shared.db.models import JobRow, WebhookRow

SUPERSEDED = "superseded"
"""The error of an event whose job was queued again before it was delivered."""

_PREFIX = "job."
_SUCCEEDED = "succeeded"


def record_end(session: Session, job: JobRow) -> None:
    """Write the event of a job's end, if its client gave a `callback_url`.

    An end before it, which an operator undid, is not told any more.

    Args:
        session: The open transaction that ends the job.
        job: The job in its final state.
    """
    if job.callback_url is None:
        return
    earlier = (
        update(WebhookRow)
        .where(WebhookRow.job_id == job.id, WebhookRow.next_attempt_at.is_not(None))
        .values(next_attempt_at=None, last_error=SUPERSEDED)
        .execution_options(synchronize_session=False)
    )
    session.execute(earlier)
    event = f"{_PREFIX}{job.status}"
    session.add(WebhookRow(id=uuid.uuid4(), job_id=job.id, event=event, url=job.callback_url))


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
