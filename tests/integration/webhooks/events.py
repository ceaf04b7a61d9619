"""Events of webhooks in the database, and how tests move them on."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select, update

from shared.db.models import JobRow, WebhookRow
from shared.db.session import Sessions
from shared.settings import Settings
from shared.webhooks.deliver import Delivery, deliver, take_due
from shared.webhooks.hosts import AllowedHosts
from shared.webhooks.run import run_webhooks
from tests.canaries import ACCESSION, PATIENT_REF
from tests.receiver import Receiver

PATIENT = {"accession_number": ACCESSION, "specimen_id": "SPEC-0815", "patient_ref": PATIENT_REF}
RETRY_SECONDS = 100.0
ALLOWED = AllowedHosts.parse("127.0.0.1")


@contextmanager
def receiving(*answers: object) -> Iterator[Receiver]:
    receiver = Receiver(*answers)
    try:
        yield receiver
    finally:
        receiver.close()


def read(sessions: Sessions, event_id: uuid.UUID) -> WebhookRow:
    with sessions() as session:
        return session.get_one(WebhookRow, event_id)


def seconds_left(sessions: Sessions, event_id: uuid.UUID) -> float:
    left = func.extract("epoch", WebhookRow.next_attempt_at - func.clock_timestamp())
    with sessions() as session:
        return float(session.scalars(select(left).where(WebhookRow.id == event_id)).one())


def change(sessions: Sessions, event_id: uuid.UUID, **values: object) -> None:
    with sessions.begin() as session:
        session.execute(update(WebhookRow).where(WebhookRow.id == event_id).values(**values))


def change_job(sessions: Sessions, job_id: uuid.UUID, **values: object) -> None:
    with sessions.begin() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))


def make_due(sessions: Sessions, event_id: uuid.UUID, **values: object) -> None:
    change(sessions, event_id, next_attempt_at=func.clock_timestamp(), **values)


def attempt(sessions: Sessions, settings: Settings, allowed: AllowedHosts = ALLOWED) -> Delivery:
    delivery = take_due(sessions, settings)
    assert delivery is not None
    deliver(sessions, settings, allowed, delivery)
    return delivery


@contextmanager
def delivering(settings: Settings, sessions: Sessions) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_webhooks, args=(settings, sessions, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
