"""`/v1/audit`: read the audit trail."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from services.api.audit_schemas import (
    AuditCheckpointOut,
    AuditListOut,
    AuditListQuery,
    audit_event_out,
)
from services.api.auth import requires
from services.api.context import context
from shared.audit.anchors import newest_checkpoint
from shared.audit.queries import AuditFilter, list_events
from shared.auth.keys import Scope
from shared.errors import NotFoundError

bp = APIBlueprint("audit", __name__, url_prefix="/v1", tag="Audit")


@bp.get("/audit")
@requires(Scope.ADMIN)
@bp.input(AuditListQuery, location="query", arg_name="query")
@bp.output(AuditListOut)
@bp.doc(summary="List the events of the audit trail, newest first", security="bearer")
def read_audit(query: AuditListQuery) -> dict[str, Any]:
    """Filtered by actor, action, job and time. Scope `admin`."""
    criteria = AuditFilter(**query.model_dump(exclude={"cursor", "limit"}))
    page = list_events(context().sessions, criteria, limit=query.limit, cursor=query.cursor)
    events = [audit_event_out(event) for event in page.events]
    return AuditListOut(events=events, next_cursor=page.next_cursor).model_dump(mode="json")


@bp.get("/audit/checkpoint")
@requires(Scope.ADMIN)
@bp.output(AuditCheckpointOut)
@bp.doc(summary="Get the newest checkpoint of the audit trail", responses=[404], security="bearer")
def read_checkpoint() -> dict[str, Any]:
    """Keep it where nobody of the service can change it. Scope `admin`."""
    found = newest_checkpoint(context().sessions)
    if found is None:
        raise NotFoundError
    return found.document
