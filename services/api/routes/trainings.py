"""`/v1/trainings`: ask for, read, follow and cancel training runs."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import actor, requires
from services.api.bodies import expect_little, json_input
from services.api.context import context
from services.api.training_intake import request_training
from services.api.training_schemas import (
    EventsQuery,
    LogOut,
    LogQuery,
    TrainingListOut,
    TrainingListQuery,
    TrainingOut,
    event_text,
    log_out,
    training_out,
    training_summary,
)
from shared.auth.keys import Scope
from shared.errors import BadRequestError, TransientError
from shared.trainings import queue
from shared.trainings.request import TrainingRequest
from shared.trainings.states import EventKind, TrainingEvent, TrainingRun

bp = APIBlueprint("trainings", __name__, url_prefix="/v1/trainings", tag="Trainings")
bp.before_request(expect_little)

_log = logging.getLogger(__name__)

_RETRY_MILLISECONDS = 2000
_EVENT_STREAM = "text/event-stream"


class TooManyListenersError(TransientError):
    """Too many clients listen to trainings already."""

    code = "too_many_listeners"


# The key comes first: what a stranger sends is not even looked at.
@bp.post("")
@requires(Scope.ADMIN)
@json_input(bp, TrainingRequest)
@bp.output(TrainingOut, status_code=202, description="Queued; it is to be polled or followed.")
@bp.doc(summary="Train a model", responses=[400, 404, 409, 413, 422], security="bearer")
def post_training(asked: TrainingRequest) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Queues a run on a data set version; all of it is checked first. Scope `admin`."""
    out = training_out(request_training(asked), [])
    return out.model_dump(mode="json"), 202, {"Location": out.links.self, "Retry-After": "2"}


@bp.get("")
@requires(Scope.ADMIN)
@bp.input(TrainingListQuery, location="query", arg_name="query")
@bp.output(TrainingListOut)
@bp.doc(summary="List training runs, newest first", security="bearer")
def read_trainings(query: TrainingListQuery) -> dict[str, Any]:
    """The newest runs, of one status or of any. Scope `admin`."""
    runs = queue.list_trainings(context().sessions, status=query.status, limit=query.limit)
    return TrainingListOut(trainings=[training_summary(run) for run in runs]).model_dump(
        mode="json"
    )


@bp.get("/<uuid:run_id>")
@requires(Scope.ADMIN)
@bp.output(TrainingOut)
@bp.doc(summary="Read a training run", responses=[404], security="bearer")
def read_training(run_id: uuid.UUID) -> dict[str, Any]:
    """Where it stands, with the figures of its epochs and at last its record. Scope `admin`."""
    return _out(queue.get_training(context().sessions, run_id))


@bp.get("/<uuid:run_id>/logs")
@requires(Scope.ADMIN)
@bp.input(LogQuery, location="query", arg_name="query")
@bp.output(LogOut)
@bp.doc(summary="Read the log of a training run", responses=[404], security="bearer")
def read_logs(run_id: uuid.UUID, query: LogQuery) -> dict[str, Any]:
    """Lines of its log from behind `after` on. Scope `admin`."""
    sessions = context().sessions
    run = queue.get_training(sessions, run_id)
    kinds = [EventKind.LOG]
    lines = queue.events(sessions, run_id, after=query.after, kinds=kinds, limit=query.limit)
    return log_out(run, lines, query.after).model_dump(mode="json")


@bp.get("/<uuid:run_id>/events")
@requires(Scope.ADMIN)
@bp.input(EventsQuery, location="query", arg_name="query")
@bp.doc(
    summary="Follow a training run",
    responses={
        200: {
            "description": "Server-sent events `epoch`, `log` and `status`, until the run ends.",
            "content": {_EVENT_STREAM: {}},
        },
        204: "The run has ended, and all of its events are known.",
        **dict.fromkeys((400, 404), "See the problem document."),
    },
    security="bearer",
)
def read_events(run_id: uuid.UUID, query: EventsQuery) -> BaseResponse:
    """What was told of a run, and what is told from now on. Scope `admin`."""
    ctx = context()
    after = _last_event(query)
    run = queue.get_training(ctx.sessions, run_id)
    if run.status.is_final and after >= run.last_event:
        return Response(status=204)  # a browser's EventSource then asks no more
    if not ctx.listening_places.acquire(blocking=False):
        raise TooManyListenersError
    told = ctx.trainings.follow(run_id, after=after)
    response = Response(_stream(told, ctx.stopping), content_type=_EVENT_STREAM)
    response.call_on_close(ctx.listening_places.release)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


@bp.delete("/<uuid:run_id>")
@requires(Scope.ADMIN)
@bp.output(TrainingOut)
@bp.doc(summary="Cancel a training run", responses=[404, 409], security="bearer")
def delete_training(run_id: uuid.UUID) -> dict[str, Any]:
    """Takes a run back; one that is trained just now is stopped within seconds. Scope `admin`."""
    return _out(queue.cancel(context().sessions, run_id, actor=actor()))


def _out(run: TrainingRun) -> dict[str, Any]:
    epochs = queue.events(context().sessions, run.id, kinds=[EventKind.EPOCH])
    return training_out(run, epochs).model_dump(mode="json")


def _last_event(query: EventsQuery) -> int:
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return query.after
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise BadRequestError("Last-Event-ID is none that was given.")
    return int(given)


def _stream(told: Iterable[list[TrainingEvent]], stopping: threading.Event) -> Iterator[str]:
    """The events as text. A client whose stream breaks off asks for the rest of it."""
    yield f"retry: {_RETRY_MILLISECONDS}\n\n"
    try:
        for some in told:
            # A comment where nothing was told, or a client that is gone would never be noticed.
            yield "".join(map(event_text, some)) or ": \n\n"
            if stopping.is_set():
                return
    except SQLAlchemyError as error:
        _log.warning("a stream breaks off", extra={"error": type(error).__name__})
