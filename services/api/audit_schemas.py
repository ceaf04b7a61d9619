"""The vocabulary of `/v1/audit`, as it stands in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, Field

from services.api.fields import Moment, Query
from services.api.schemas import Reference
from shared.audit.queries import AuditEvent


class AuditListQuery(Query):
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
    position: int | None = Field(description="Its place in the chain; null: none yet.")
    hash: str | None = Field(description="The hash of the chain there, hexadecimal.")


class AuditListOut(BaseModel):
    """A page of events, newest first."""

    events: list[AuditEventOut]
    next_cursor: int | None = Field(description="Pass it as `cursor` for the next page.")


class AuditCheckpointOut(BaseModel):
    """The state of the chain, to be kept for `hemotriage audit verify --checkpoint`."""

    position: int = Field(description="The place of the last event in it.")
    hash: str = Field(description="The hash of the chain there, hexadecimal.")
    at: str = Field(description="When it was made, as it was signed.")
    key_id: str | None = Field(description="Which key signed it; null: unsigned.")
    signature: str | None = Field(description="Ed25519, base64.")


def audit_event_out(event: AuditEvent) -> AuditEventOut:
    """The event as it is answered."""
    return AuditEventOut(
        id=event.id,
        at=event.at,
        actor=event.actor,
        action=event.action,
        job_id=event.job_id,
        details=event.details,
        position=event.position,
        hash=None if event.hash is None else bytes(event.hash).hex(),
    )
