"""The outbox: messages that are true before they are sent.

A message is written in the transaction that makes it true and removed once the broker has taken
it. What a crash leaves behind, the relay sends; a message sent twice does no harm, since a job is
claimed once.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db.models import JobRow, OutboxRow
from shared.db.session import Sessions, execute
from shared.queue.send import BrokerUnavailableError, Sender
from shared.telemetry.about import UNKNOWN, Origin, about, ids_of
from shared.telemetry.tracing import Kind, span

_log = logging.getLogger(__name__)

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
    origin: Origin = UNKNOWN


def announce(session: Session, job: JobRow, *, delay_seconds: float = 0) -> None:
    """Write the message that a job waits in its queue, to be sent after the delay."""
    due = func.clock_timestamp() + dt.timedelta(seconds=delay_seconds)
    job.queued_at = due
    session.add(OutboxRow(job_id=job.id, queue=job.priority, send_after=due))
    session.flush()


class Outbox:
    """Sends the messages that its process has just committed; safe to share between threads.

    A thread of its own sends them, so that nobody waits for the broker, and removes what was sent a
    little later, many at once. What a crash or a server that is down leaves in the outbox, the
    relay sends, some of it a second time.
    """

    def __init__(self, sessions: Sessions, sender: Sender) -> None:
        self._sessions = sessions
        self._sender = sender
        self._waiting: deque[Message] = deque()
        self._sent: list[int] = []
        self._starting, self._flushing = threading.Lock(), threading.Lock()
        self._any_waiting = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, message: Message) -> None:
        """Have a message sent right after the commit that wrote it; returns at once."""
        self._waiting.append(message)
        self._any_waiting.set()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Send what waits, and remove what was sent."""
        self._send_waiting()
        self._clear()

    def _run(self) -> None:
        clear_at = time.monotonic() + _CLEARING_SECONDS
        while True:
            self._any_waiting.wait(_CLEARING_SECONDS if self._sent else None)
            self._any_waiting.clear()
            self._send_waiting()
            if time.monotonic() >= clear_at:
                self._clear()
                clear_at = time.monotonic() + _CLEARING_SECONDS

    def _send_waiting(self) -> None:
        """Send what waits; where the broker is down it stays in the outbox, for the relay."""
        with self._flushing:
            while self._waiting:
                message = self._waiting.popleft()
                try:
                    _send(self._sender, message)
                except BrokerUnavailableError:
                    self._waiting.clear()
                except Exception:  # the thread must outlive whatever it meets
                    ids = ids_of(message.job_id, message.origin)
                    _log.exception("message not sent", extra=ids)
                else:
                    self._sent.append(message.id)

    def _clear(self) -> None:
        """Remove what was sent; the relay sends again what the database does not let us remove."""
        with self._flushing:
            sent, self._sent = self._sent, []
            if sent:
                with suppress(SQLAlchemyError):
                    execute(self._sessions, delete(OutboxRow).where(OutboxRow.id.in_(sent)))


def send_due(session: Session, sender: Sender, *, limit: int) -> int:
    """Send the messages that are due, oldest first, passing over those another process holds.

    A slow broker gets as many as it takes within a few seconds.

    Returns:
        How many were sent.

    Raises:
        BrokerUnavailableError: Nothing of this transaction counts as sent.
    """
    now = func.statement_timestamp()  # no index is searched for `clock_timestamp`
    statement = (
        select(OutboxRow, JobRow.request_id, JobRow.traceparent)
        .join(JobRow, JobRow.id == OutboxRow.job_id)
        .where(or_(OutboxRow.send_after <= now, OutboxRow.send_after > now + _FURTHEST))
        .order_by(OutboxRow.send_after)
        .limit(limit)
        .with_for_update(of=OutboxRow, skip_locked=True)
    )
    deadline = time.monotonic() + _LONGEST_SENDING_SECONDS
    sent = []
    for row, *origin in session.execute(statement).all():
        message = Message(row.id, row.job_id, row.queue, row.send_after, Origin(*origin))
        _send(sender, message)
        sent.append(message.id)
        if time.monotonic() > deadline:
            break
    session.execute(delete(OutboxRow).where(OutboxRow.id.in_(sent)))
    return len(sent)


def _send(sender: Sender, message: Message) -> None:
    origin = message.origin
    with (
        about(**ids_of(message.job_id, origin)),
        span("enqueue", kind=Kind.PRODUCER, parent=origin.traceparent) as sending,
    ):
        sending.note(hemotriage__job_id=str(message.job_id), messaging__system="celery")
        sender(message.job_id, message.queue, message.announced_at)
        _log.info("job announced")
