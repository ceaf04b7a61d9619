"""What has become of a job, from all that remembers it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from services.api.auth import current_key
from services.api.context import context
from shared.audit.history import history
from shared.jobs.entities import Job
from shared.reviews.readings import find_case, reader_of
from shared.webhooks.admin import Event, State, list_events

_PUSHES = 50
_REVIEWED = "job.reviewed"


@dataclass(frozen=True)
class Happening:
    """One line: when, what by its code, who, and what there is to say of it."""

    at: dt.datetime
    what: str
    who: str = ""
    detail: str = ""


def happened(job: Job) -> list[Happening]:
    """The events of a job, the oldest first: of the audit trail, its start, what was pushed.

    What a first reader found is left out for whoever may still be the second one.
    """
    sessions = context().sessions
    events = history(sessions, job.id)
    is_blind = any(event.action == _REVIEWED for event in events) and _may_read_second(job)
    lines = [
        Happening(
            event.at,
            event.action,
            event.actor,
            "" if is_blind and event.action == _REVIEWED else _told(event.details),
        )
        for event in events
    ]
    if job.started_at is not None:
        lines.append(Happening(job.started_at, "job.claimed"))
    pushed = list_events(
        sessions, tenant=job.tenant, undelivered=False, limit=_PUSHES, job_id=job.id
    )
    lines += [_push(event) for event in pushed]
    return sorted(lines, key=lambda line: line.at)


def _may_read_second(job: Job) -> bool:
    sessions = context().sessions
    return find_case(sessions, job.id, tenant=job.tenant).hides_from(
        reader_of(sessions, current_key().id)
    )


def _push(event: Event) -> Happening:
    detail = f"{event.to} {event.last_error or ''}".strip()
    if event.state is State.DUE:
        return Happening(event.next_attempt_at or event.created_at, "push.due", detail=detail)
    at = event.delivered_at or event.created_at
    return Happening(at, f"push.{event.state}", detail=detail)


def _told(details: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
