"""Takes the events that are due, one at a time, and calls.

An attempt is counted and the next one dated before the call, in a transaction of its own. A crash
in the middle of a call so costs a wait and no event, and nothing stays locked while a receiver
thinks. All times are of the database's clock.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import aliased

from shared.db.models import JobRow, WebhookRow
from shared.db.session import Sessions
from shared.settings import Settings
from shared.telemetry.about import REQUEST_ID, UNKNOWN, Origin, about, ids_of
from shared.telemetry.tracing import Kind, span, traceparent
from shared.webhooks.call import CallFailedError, post
from shared.webhooks.destinations import is_push
from shared.webhooks.events import SUPERSEDED, payload, status_of
from shared.webhooks.hosts import AllowedHosts, CallbackNotAllowedError
from shared.webhooks.metrics import count_delivery
from shared.webhooks.signature import key_of, sign
from shared.webhooks.tenant_secrets import secret_of

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 12
LONGEST_DELAY_SECONDS = 3600.0
JITTER = 0.2
"""A delay is shorter by up to this part, so that a receiver that comes back is not stormed."""

_SETTLE_SECONDS = 10.0
"""What looking up a name and writing an outcome may take, beyond the call itself."""

INTERRUPTED = "interrupted"
REMOVED = "destination_removed"
GONE = 410


@dataclass(frozen=True)
class Delivery:
    """An event in the hands of a relay, for one attempt; `origin` is its URL's host and port."""

    event_id: uuid.UUID
    job_id: uuid.UUID
    attempt: int
    url: str
    origin: str
    body: bytes
    superseded: bool
    tenant: str
    came_with: Origin = UNKNOWN

    @property
    def is_push(self) -> bool:
        """Whether it brings a result to a destination, and tells no client of an end."""
        return is_push(self.url)


Push = Callable[[Delivery], None]
"""Sends a result to its destination; raises `CallFailedError` where it did not arrive."""


def push_nowhere(_: Delivery) -> None:
    """The push of a relay that knows of no destination."""
    raise CallFailedError(REMOVED, is_final=True)


def take_due(
    sessions: Sessions, settings: Settings, *, full: Collection[str] = ()
) -> Delivery | None:
    """Take the event that has been due longest and that no other relay takes.

    A time that lies further ahead than any delay was written before the database's clock was set
    back, and is due too.

    Args:
        sessions: The database.
        settings: The first delay, and how long a call may take.
        full: Origins of which no event is taken.
    """
    # Longer than a call: nobody else takes the event while it is under way.
    hold = settings.connect_timeout_seconds + settings.answer_timeout_seconds + _SETTLE_SECONDS
    now = func.clock_timestamp()
    furthest = now + _interval(max(LONGEST_DELAY_SECONDS, hold))
    found = aliased(WebhookRow)
    longest_due = (
        select(found.id)
        .where(
            or_(found.next_attempt_at <= now, found.next_attempt_at > furthest),
            _origin(found.url).not_in(full),
        )
        .order_by(found.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    delay = func.greatest(_delay_seconds(settings, WebhookRow.attempts), hold)
    statement = (
        update(WebhookRow)
        .where(WebhookRow.id == longest_due, JobRow.id == WebhookRow.job_id)
        .values(
            attempts=WebhookRow.attempts + 1,
            next_attempt_at=now + _interval(delay),
            # Until the outcome takes its place.
            last_error=INTERRUPTED,
        )
        .returning(
            *(WebhookRow, _origin(WebhookRow.url), JobRow.status, JobRow.error_code),
            *(JobRow.tenant, JobRow.request_id, JobRow.traceparent),
        )
        .execution_options(synchronize_session=False)
    )
    with sessions.begin() as session:
        taken = session.execute(statement).one_or_none()
        if taken is None:
            return None
        event, origin, status, error_code, tenant, *came_with = taken
        return Delivery(
            event_id=event.id,
            job_id=event.job_id,
            attempt=event.attempts,
            url=event.url,
            origin=origin,
            body=payload(event, error_code),
            # An operator queued the job again, and its next end is yet to come.
            superseded=status != status_of(event.event),
            tenant=tenant,
            came_with=Origin(*came_with),
        )


def deliver(
    sessions: Sessions,
    settings: Settings,
    allowed: AllowedHosts,
    delivery: Delivery,
    push: Push = push_nowhere,
) -> None:
    """Make one attempt and write its outcome.

    Of a webhook, a status of 2xx is a delivery. 410 ends the attempts, as do a URL that may no
    longer be called and a job that was queued again; after anything else there is another, up to
    `MAX_ATTEMPTS`. Of a push, its error says whether it is final.
    """
    what = "push" if delivery.is_push else "webhook"
    told = {"event_id": str(delivery.event_id), "attempt": delivery.attempt}
    start = time.monotonic()
    told |= ids_of(delivery.job_id, delivery.came_with)
    with (
        about(**ids_of(delivery.job_id, delivery.came_with)),
        span(what, kind=Kind.CLIENT, parent=delivery.came_with.traceparent) as calling,
    ):
        calling.note(hemotriage__job_id=str(delivery.job_id), hemotriage__attempt=delivery.attempt)
        failure, is_final = _attempt(settings, allowed, delivery, push)
        if failure is not None:
            calling.fail(failure)
    seconds = time.monotonic() - start
    if failure is None:
        count_delivery(what, "delivered", seconds=seconds)
        _settle_delivered(sessions, delivery)
        _log.info(f"{what} delivered", extra=told)
    elif is_final or delivery.attempt >= MAX_ATTEMPTS:
        count_delivery(what, "given_up", seconds=seconds)
        _settle_failed(sessions, delivery, failure, next_attempt_at=None)
        _log.warning(f"{what} given up", extra={**told, "code": failure})
    else:
        count_delivery(what, "failed", seconds=seconds)
        delay = _delay_seconds(settings, WebhookRow.attempts - 1)
        due = func.clock_timestamp() + _interval(delay)
        _settle_failed(sessions, delivery, failure, next_attempt_at=due)
        _log.info(f"{what} failed", extra={**told, "code": failure})


def _attempt(
    settings: Settings, allowed: AllowedHosts, delivery: Delivery, push: Push
) -> tuple[str | None, bool]:
    """Call; returns the code of the failure, if it was one, and whether it is final."""
    if delivery.superseded:
        return SUPERSEDED, True
    if delivery.attempt > MAX_ATTEMPTS:  # the last one was cut off by a crash
        return INTERRUPTED, True
    try:
        if delivery.is_push:
            push(delivery)
        else:
            _call_back(settings, allowed, delivery)
    except CallbackNotAllowedError as error:
        return error.code, True
    except CallFailedError as error:
        return error.code, error.is_final
    return None, True


def _call_back(settings: Settings, allowed: AllowedHosts, delivery: Delivery) -> None:
    callback = allowed.check(delivery.url)
    if settings.webhook_secret is None:
        raise ValueError("webhooks need a secret")
    secret = secret_of(settings.webhook_secret.get_secret_value(), delivery.tenant)
    status = post(
        callback,
        {
            **sign(key_of(secret), str(delivery.event_id), int(time.time()), delivery.body),
            **_of_request(delivery.came_with),
        },
        delivery.body,
        connect_seconds=settings.connect_timeout_seconds,
        answer_seconds=settings.answer_timeout_seconds,
    )
    if not 200 <= status < 300:
        raise CallFailedError(f"status_{status}", is_final=status == GONE)


def _of_request(origin: Origin) -> dict[str, str]:
    """What tells a receiver which request, and which trace, a call belongs to."""
    headers = {REQUEST_ID: origin.request_id, "traceparent": traceparent()}
    return {name: value for name, value in headers.items() if value is not None}


def _settle_delivered(sessions: Sessions, delivery: Delivery) -> None:
    statement = (
        update(WebhookRow)
        .where(WebhookRow.id == delivery.event_id)
        .values(delivered_at=func.clock_timestamp(), next_attempt_at=None, last_error=None)
    )
    with sessions.begin() as session:
        session.execute(statement)


def _settle_failed(
    sessions: Sessions, delivery: Delivery, failure: str, *, next_attempt_at: Any
) -> None:
    """Write a failure, unless a later attempt has the event or it is settled already."""
    statement = (
        update(WebhookRow)
        .where(
            WebhookRow.id == delivery.event_id,
            WebhookRow.attempts == delivery.attempt,
            WebhookRow.next_attempt_at.is_not(None),
        )
        .values(last_error=failure, next_attempt_at=next_attempt_at)
    )
    with sessions.begin() as session:
        session.execute(statement)


def _delay_seconds(settings: Settings, failed: Any) -> Any:
    """Seconds until the next attempt, where `failed` attempts came before this one."""
    doubled = settings.webhook_retry_seconds * func.power(2.0, failed)
    return func.least(doubled, LONGEST_DELAY_SECONDS) * (1 - JITTER * func.random())


def _interval(seconds: Any) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _origin(url: Any) -> Any:
    return func.lower(func.substring(url, "//([^/?]*)"))
