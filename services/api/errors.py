"""Every error leaves the API as a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask, HTTPError
from flask import Response, json, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.errors import BadRequestError, HemotriageError, PayloadTooLargeError, TransientError

PROBLEM = "application/problem+json"

_log = logging.getLogger(__name__)


class DatabaseUnavailableError(TransientError):
    """The database does not answer."""

    code = "database_unavailable"


def init_app(app: APIFlask) -> None:
    """Register the one handler of each kind of error."""
    app.register_error_handler(HemotriageError, problem)
    # What Python raises for JSON that is nested a thousandfold.
    app.register_error_handler(RecursionError, lambda _: problem(BadRequestError("Nested JSON.")))
    app.register_error_handler(Exception, lambda error: problem(told(error)))
    app.error_processor(_http_error)


def problem(error: HemotriageError) -> Response:
    """Turn an error into its problem document."""
    response = _document(error.http_status, error.code, error.title, error.detail)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _document(
    status: int, code: str, title: str, detail: str | None = None, **more: Any
) -> Response:
    body = problem_body(status, code, title) | ({"detail": detail} if detail else {}) | more
    response = Response(json.dumps(body), status=int(status), content_type=PROBLEM)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def problem_body(status: int, code: str, title: str) -> dict[str, Any]:
    """What every problem document says."""
    kind = f"urn:hemotriage:problem:{code}"
    return {"type": kind, "title": title, "status": int(status), "code": code}


def _http_error(error: HTTPError) -> Response:
    """What APIFlask and Werkzeug raise: an unknown address, a query that does not validate."""
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return problem(PayloadTooLargeError())
    if error.detail:
        fields = {"errors": error.detail}
        return _document(status, "validation_failed", "A field is not valid.", **fields)
    response = _document(status, status.name.lower(), f"{status.phrase}.")
    if allowed := error.headers.get("Allow"):
        response.headers["Allow"] = allowed
    return response


def told(error: Exception) -> HemotriageError:
    """What is said of an error that is none of ours; it is logged, and nothing of it repeated."""
    is_broken = isinstance(error, DBAPIError) and (
        error.connection_invalidated or type(error).__name__ == "OperationalError"
    )
    if is_broken or isinstance(error, PoolTimeoutError):
        _log.warning("database unavailable", extra={"endpoint": request.endpoint})
        return DatabaseUnavailableError()
    _log.error("unexpected error", exc_info=error, extra={"endpoint": request.endpoint})
    return HemotriageError()
