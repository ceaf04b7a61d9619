"""Every call: its id, a line in the log, and an event in the audit trail."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack
from http import HTTPStatus

from apiflask import APIFlask
from flask import Response, g, request

from services.api.auth import actor
from services.api.context import context
from services.api.request_metrics import named_method
from shared.audit.calls import Call
from shared.clock import utc_now
from shared.telemetry.about import REQUEST_ID, about, request_id_of
from shared.telemetry.tracing import Kind, span

# What machines ask all the time, about the service and about no patient; and what pages look like.
_NOT_RECORDED = ("/healthz", "/readyz", "/metrics", "/console/static/<path:filename>")
# What pages ask for again and again; a client of the API could name itself one, to go unrecorded.
_PAGES = "/console/"
_log = logging.getLogger(__name__)


def init_app(app: APIFlask) -> None:
    """Have every call recorded, whatever comes of it."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_leave)


def _begin() -> None:
    g.started = time.perf_counter()
    g.started_at = utc_now()
    g.request_id = request_id_of(request.headers.get(REQUEST_ID, ""))
    job_id = _job_id()
    g.running = ExitStack()
    ids = {"request_id": g.request_id, "job_id": str(job_id) if job_id else None}
    g.running.enter_context(about(**ids))
    parent = request.headers.get("traceparent")
    g.span = g.running.enter_context(span(named_method(), kind=Kind.SERVER, parent=parent))


def _end(response: Response) -> Response:
    """The route's rule is recorded and not its address, which may name a patient's accession."""
    response.headers[REQUEST_ID] = g.request_id
    rule = request.url_rule.rule if request.url_rule else None
    call = Call(
        at=g.started_at,
        actor=actor(),
        method=named_method(),
        route=rule,
        status=response.status_code,
        job_id=_job_id(),
        request_id=g.request_id,
        milliseconds=round((time.perf_counter() - g.started) * 1000, 1),
    )
    is_part = (rule or "").startswith(_PAGES) and "HX-Request" in request.headers
    asks_again = is_part and call.method == "GET"
    if rule not in _NOT_RECORDED and not (asks_again and context().polls.has_just_had(call)):
        context().calls.add(call)
    fields = {"method": call.method, "route": call.route, "status": call.status}
    _log.info("request", extra={**fields, "ms": call.milliseconds})
    _trace(call)
    return response


def _leave(_: BaseException | None) -> None:
    if (running := g.pop("running", None)) is not None:
        running.close()


def _job_id() -> uuid.UUID | None:
    job_id = (request.view_args or {}).get("job_id")
    return job_id if isinstance(job_id, uuid.UUID) else None


def _trace(call: Call) -> None:
    """By the names of OpenTelemetry's semantic conventions for HTTP servers."""
    g.span.rename(f"{call.method} {call.route}" if call.route else call.method)
    g.span.note(
        http__request__method=call.method,
        http__route=call.route,
        http__response__status_code=call.status,
        hemotriage__request_id=call.request_id,
        hemotriage__job_id=str(call.job_id) if call.job_id else None,
    )
    if call.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        g.span.fail(str(call.status))
