"""What an operator sees of webhooks and pushes, and does about them."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, exists, func, select, true, update

from shared import audit
from shared.auth.tenants import EVERY_TENANT
from shared.db.models import JobRow, WebhookRow
from shared.db.session import Sessions, execute
from shared.errors import NotFoundError

_OPERATOR = "operator"


class State(StrEnum):
    """Where an event stands."""

    DUE = "due"  # has attempts before it
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"  # no attempt follows unless an operator asks for it


@dataclass(frozen=True)
class Event:
    """An event as it stood when it was read; `to` is the URL without what may be a secret in it."""

    id: uuid.UUID
    job_id: uuid.UUID
    event: str
    to: str
    created_at: dt.datetime
    attempts: int
    next_attempt_at: dt.datetime | None
    delivered_at: dt.datetime | None
    last_error: str | None

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.delivered_at is not None:
            return State.DELIVERED
        return State.GIVEN_UP if self.next_attempt_at is None else State.DUE


@dataclass(frozen=True)
class Backlog:
    """Events that have attempts before them.

    `failing` of them had one that failed; `oldest_seconds` is the age of the oldest, or 0.
    """

    is_push: bool
    due: int
    failing: int
    oldest_seconds: float


_is_push = (func.lower(WebhookRow.url).op("!~")("^https?:")).label("is_push")
_age = func.extract("epoch", func.clock_timestamp() - func.min(WebhookRow.created_at))
_BACKLOGS = (
    select(
        _is_push,
        func.count().label("due"),
        func.count().filter(WebhookRow.attempts > 0).label("failing"),
        func.greatest(_age, 0).label("age"),
    )
    .where(WebhookRow.next_attempt_at.is_not(None))
    .group_by(_is_push)
)


def list_events(
    sessions: Sessions,
    *,
    tenant: str | None,
    undelivered: bool,
    limit: int,
    job_id: uuid.UUID | None = None,
) -> list[Event]:
    """Events, newest first: of all jobs or of one, all of them or those that were not delivered."""
    statement = (
        select(WebhookRow).where(_is_of(tenant)).order_by(WebhookRow.created_at.desc()).limit(limit)
    )
    if job_id is not None:
        statement = statement.where(WebhookRow.job_id == job_id)
    if undelivered:
        statement = statement.where(WebhookRow.delivered_at.is_(None))
    with sessions() as session:
        return [_event(row) for row in session.scalars(statement)]


def backlogs(sessions: Sessions) -> list[Backlog]:
    """What is due of webhooks and of pushes, whether or not there is any."""
    rows = execute(sessions, _BACKLOGS)
    found = {
        row.is_push: Backlog(row.is_push, row.due, row.failing, float(row.age)) for row in rows
    }
    return [found.get(kind, Backlog(kind, 0, 0, 0.0)) for kind in (False, True)]


def resend(
    sessions: Sessions, event_id: uuid.UUID, *, tenant: str | None, actor: str = _OPERATOR
) -> None:
    """Make an event due at once, delivered or not, with all of its attempts before it.

    Raises:
        NotFoundError: The tenant has no such event.
    """
    statement = (
        update(WebhookRow)
        .where(WebhookRow.id == event_id, _is_of(tenant))
        .values(
            attempts=0, next_attempt_at=func.clock_timestamp(), delivered_at=None, last_error=None
        )
        .returning(WebhookRow.job_id)
    )
    with sessions.begin() as session:
        job_id = session.scalars(statement).one_or_none()
        if job_id is None:
            raise NotFoundError(f"There is no event {event_id}.")
        audit.record(session, actor, "webhook.resent", job_id, event_id=str(event_id))


def _is_of(tenant: str | None) -> ColumnElement[bool]:
    """The condition that an event is about a tenant's job."""
    if tenant is EVERY_TENANT:
        return true()
    return exists().where(JobRow.id == WebhookRow.job_id, JobRow.tenant == tenant)


def _event(row: WebhookRow) -> Event:
    return Event(
        id=row.id,
        job_id=row.job_id,
        event=row.event,
        to="{0.scheme}://{0.netloc}".format(urlsplit(row.url)),
        created_at=row.created_at,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        delivered_at=row.delivered_at,
        last_error=row.last_error,
    )
