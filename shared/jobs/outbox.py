"""The outbox: messages that are true before they are sent.

A message is written in the transaction that makes it true and removed once the broker has taken
it. What a crash leaves behind, the relay sends; a message sent twice does no harm, since a job is
claimed once.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db.models import JobRow, OutboxRow
from shared.db.session import Sessions, execute
from shared.queue.send import BrokerUnavailableError, Sender

RELAY_AFTER_SECONDS = 2.0
"""A message that its writer sends itself is the relay's after so long."""

_LONGEST_SENDING_SECONDS = 5.0
_FURTHEST = dt.timedelta(minutes=5)
"""No delay is longer: a later message was written before the clock was set back, and is due."""


@dataclass(frozen=True)
class Message:
    """What the outbox holds: a job was announced to a queue."""

    id: int
    job_id: uuid.UUID
    queue: str
    announced_at: dt.datetime


def announce(session: Session, job: JobRow, *, delay_seconds: float = 0) -> None:
    """Write the message that a job waits in its queue, to be sent after the delay."""
    due = func.clock_timestamp() + dt.timedelta(seconds=delay_seconds)
    job.queued_at = due
    session.add(OutboxRow(job_id=job.id, queue=job.priority, send_after=due))
    session.flush()


def send_now(sessions: Sessions, sender: Sender, message: Message) -> bool:
    """Send a message right after the commit that wrote it.

    Returns:
        Whether it is sent. Where a server is down it stays, and the relay sends it, perhaps again.
    """
    try:
        sender(message.job_id, message.queue, message.announced_at)
        execute(sessions, delete(OutboxRow).where(OutboxRow.id == message.id))
    except (BrokerUnavailableError, SQLAlchemyError):
        return False
    return True


def send_due(session: Session, sender: Sender, *, limit: int) -> int:
    """Send the messages that are due, oldest first, passing over those another process holds.

    A slow broker gets as many as it takes within a few seconds.

    Returns:
        How many were sent.

    Raises:
        BrokerUnavailableError: Nothing of this transaction counts as sent.
    """
    now = func.clock_timestamp()
    statement = (
        select(OutboxRow)
        .where(or_(OutboxRow.send_after <= now, OutboxRow.send_after > now + _FURTHEST))
        .order_by(OutboxRow.send_after)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    deadline = time.monotonic() + _LONGEST_SENDING_SECONDS
    sent = []
    for message in session.scalars(statement).all():
        sender(message.job_id, message.queue, message.send_after)
        sent.append(message.id)
        if time.monotonic() > deadline:
            break
    session.execute(delete(OutboxRow).where(OutboxRow.id.in_(sent)))
    return len(sent)
