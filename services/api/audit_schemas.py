"""The vocabulary of `/v1/audit`, as it stands in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, Field

from services.api.fields import Moment
from services.api.schemas import Reference
from shared.audit.queries import AuditEvent


class AuditListQuery(BaseModel):
    """Filters and the page of a list of events."""

    actor: Reference | None = Field(None, description="Such as `key:ID`, `operator`, `anonymous`.")
    action: Reference | None = Field(None, description="Such as `job.submitted`, `api.called`.")
    job_id: uuid.UUID | None = None
    at_from: Moment | None = Field(None, alias="from", description="Inclusive, with a time zone.")
    at_to: Moment | None = Field(None, alias="to", description="Exclusive, with a time zone.")
    cursor: int | None = Field(None, ge=1, lt=2**63, description="`next_cursor` of a page.")
    limit: int = Field(50, ge=1, le=200)


class AuditEventOut(BaseModel):
    """Who did what to which job, when."""

    id: int
    at: dt.datetime
    actor: str
    action: str
    job_id: uuid.UUID | None
    details: dict[str, Any] = Field(description="What else belongs to the action.")


class AuditListOut(BaseModel):
    """A page of events, newest first."""

    events: list[AuditEventOut]
    next_cursor: int | None = Field(description="Pass it as `cursor` for the next page.")


def audit_event_out(event: AuditEvent) -> AuditEventOut:
    """The event as it is answered."""
    return AuditEventOut(
        id=event.id,
        at=event.at,
        actor=event.actor,
        action=event.action,
        job_id=event.job_id,
        details=event.details,
    )
