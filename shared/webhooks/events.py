"""Events that clients are told of, written in the transaction that makes them true."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from shared.db.models import JobRow, WebhookRow


def record_end(session: Session, job: JobRow) -> None:
    """Write the event of a job's end, if its client gave a `callback_url`.

    Args:
        session: The open transaction that ends the job.
        job: The job in its final state.
    """
    if job.callback_url is not None:
        event = f"job.{job.status}"
        session.add(WebhookRow(id=uuid.uuid4(), job_id=job.id, event=event, url=job.callback_url))
