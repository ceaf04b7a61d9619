"""The outbox: messages that are true before they are sent.

A message is written in the transaction that makes it true and removed once the broker has taken
it. What a crash leaves behind, the relay sends; a message sent twice does no harm, since a job is
claimed once.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db.models import JobRow, OutboxRow
from shared.db.session import Sessions, execute
from shared.queue.send import BrokerUnavailableError, Sender

RELAY_AFTER_SECONDS = 2.0
"""A message that its writer sends itself is the relay's after so long."""

_CLEARING_SECONDS = 0.1
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


class Outbox:
    """Sends the messages that its process has just committed; safe to share between threads.

    What was sent is removed a little later, many at once. What a crash or a server that is down
    leaves in the outbox, the relay sends, some of it a second time.
    """

    def __init__(self, sessions: Sessions, sender: Sender) -> None:
        self._sessions = sessions
        self._sender = sender
        self._sent: list[int] = []
        self._lock = threading.Lock()
        self._any_sent = threading.Event()
        self._cleaner: threading.Thread | None = None

    def send(self, message: Message) -> bool:
        """Send a message right after the commit that wrote it.

        Returns:
            Whether it is sent. Where a server is down it stays, for the relay.
        """
        try:
            self._sender(message.job_id, message.queue, message.announced_at)
        except (BrokerUnavailableError, SQLAlchemyError):
            return False
        with self._lock:
            self._sent.append(message.id)
            if self._cleaner is None:
                self._cleaner = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._cleaner.start()
        self._any_sent.set()
        return True

    def clear(self) -> None:
        """Remove what was sent; the relay sends again what the database does not let us remove."""
        with self._lock:
            sent, self._sent = self._sent, []
        if sent:
            with suppress(SQLAlchemyError):
                execute(self._sessions, delete(OutboxRow).where(OutboxRow.id.in_(sent)))

    def _run(self) -> None:
        while self._any_sent.wait():
            time.sleep(_CLEARING_SECONDS)
            self._any_sent.clear()
            self.clear()


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
