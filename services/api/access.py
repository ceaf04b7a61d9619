"""Every call: its id, a line in the log, and an event in the audit trail."""

from __future__ import annotations

import logging
import re
import time
import uuid

from apiflask import APIFlask
from flask import Response, g, request

from services.api.auth import actor
from services.api.context import context
from shared.audit.calls import Call
from shared.clock import utc_now

REQUEST_ID = "X-Request-Id"
"""The header that names a call, in its request and in its answer."""

# What machines ask all the time, about the service and about no patient; and what pages look like.
_NOT_RECORDED = ("/healthz", "/readyz", "/metrics", "/console/static/<path:filename>")
# What pages ask for again and again; a client of the API could name itself one, to go unrecorded.
_PAGES = "/console/"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(__name__)


def init_app(app: APIFlask) -> None:
    """Have every call recorded, whatever comes of it."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started = time.perf_counter()
    g.started_at = utc_now()
    sent = request.headers.get(REQUEST_ID, "")
    g.request_id = sent if _WELL_FORMED.fullmatch(sent) else uuid.uuid4().hex


def _end(response: Response) -> Response:
    """The route's rule is recorded and not its address, which may name a patient's accession."""
    response.headers[REQUEST_ID] = g.request_id
    rule = request.url_rule.rule if request.url_rule else None
    job_id = (request.view_args or {}).get("job_id")
    call = Call(
        at=g.started_at,
        actor=actor(),
        method=request.method,
        route=rule,
        status=response.status_code,
        job_id=job_id if isinstance(job_id, uuid.UUID) else None,
        request_id=g.request_id,
        milliseconds=round((time.perf_counter() - g.started) * 1000, 1),
    )
    is_part = (rule or "").startswith(_PAGES) and "HX-Request" in request.headers
    asks_again = is_part and call.method == "GET"
    if rule not in _NOT_RECORDED and not (asks_again and context().polls.has_just_had(call)):
        context().calls.add(call)
    fields = {"method": call.method, "route": call.route, "status": call.status}
    more = {"ms": call.milliseconds, "request_id": call.request_id}
    _log.info("request", extra={**fields, **more})
    return response
