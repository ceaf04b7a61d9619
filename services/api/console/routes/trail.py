"""The audit trail, searched and read a page at a time."""

from __future__ import annotations

from flask import Blueprint, request

from services.api.audit_schemas import AuditListQuery
from services.api.console.forms import given
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from services.api.dataset_intake import validated
from shared.audit.queries import AuditFilter, AuditPage, list_events
from shared.auth.keys import Scope
from shared.errors import PermanentError

_TIMES = ("from", "to")
# Others are passed over, and are no part of a further page's address: some mean something there.
_QUERY = ("actor", "action", "job_id", *_TIMES, "cursor", "limit")
_NOTHING = AuditPage((), None)


def add(bp: Blueprint) -> None:
    """Add this page."""
    bp.add_url_rule("/audit", "audit", show_audit)


@needs(Scope.ADMIN)
def show_audit() -> str | tuple[str, int]:
    """The newest events, filtered by actor, action, job and time."""
    asked = given(request.args)
    try:
        said = {name: asked[name] for name in _QUERY if name in asked}
        query = validated(AuditListQuery, {**said, **_in_utc(asked)})
        with_calls = "calls" in request.args or query.action is not None
    except PermanentError as error:
        shown = page("audit.html", found=_NOTHING, asked=asked, refusal=error)
        return shown, int(error.http_status)
    fields = query.model_dump(exclude={"cursor", "limit"})
    criteria = AuditFilter(**fields, with_calls=with_calls)
    found = list_events(context().sessions, criteria, limit=query.limit, cursor=query.cursor)
    known = {name: asked[name] for name in (*_QUERY, "calls") if name in asked}
    return page("audit.html", found=found, asked=asked, known=known)


def _in_utc(asked: dict[str, str]) -> dict[str, str]:
    """The times of the form, whose fields have no zone: their labels say that it is UTC."""
    return {name: f"{asked[name]}Z" for name in _TIMES if name in asked}
