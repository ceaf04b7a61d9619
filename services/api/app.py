"""The application factory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from apiflask import APIFlask
from flask import Response, current_app, redirect, request
from flask_swagger_ui import get_swaggerui_blueprint
from gevent import Timeout
from werkzeug.wrappers import Response as BaseResponse

from services.api import access, errors, openapi, request_metrics
from services.api.console import app as console
from services.api.context import EXTENSION, context, create_context
from services.api.pace import TooSlowError, paced
from services.api.routes import (
    audit,
    datasets,
    dicomweb,
    explanations,
    gates,
    health,
    jobs,
    metrics,
    models,
    orders,
    results,
    retention,
    reviews,
    trainings,
    workitems,
)
from services.api.uploads import SpoolingRequest
from shared.settings import Settings

DRAIN_SECONDS = 30.0
"""For what is left of a refused upload: at the pace of bodies alone it could come for days."""

_DRAIN_CHUNK = 1024**2


class _App(APIFlask):  # type: ignore[misc]
    request_class = SpoolingRequest


def create_app(settings: Settings, *, shared_metrics: Path | None = None) -> APIFlask:
    """Build the API. Nothing connects before the first request.

    Args:
        settings: The settings.
        shared_metrics: The folder in which processes count together; None: this is the only one.
    """
    app = _App("hemotriage", title="hemotriage", version="1", docs_path=None)
    app.config.update(MAX_CONTENT_LENGTH=settings.max_request_bytes, JSON_SORT_KEYS=False)
    app.json.sort_keys = False
    app.extensions[EXTENSION] = create_context(settings)
    # First: what another of these refuses is measured too.
    request_metrics.init_app(app, shared_metrics)
    errors.init_app(app)
    openapi.init_app(app)
    for routes in (
        *(jobs, orders, results, explanations, reviews, models, gates, datasets, trainings),
        *(dicomweb, workitems, retention, audit, health, metrics),
    ):
        app.register_blueprint(routes.bp)
    app.register_blueprint(get_swaggerui_blueprint("/docs", "/openapi.json"), url_prefix="/docs")
    console.init_app(app, settings)
    app.add_url_rule("/", "root", app.doc(hide=True)(_to_first_page))
    app.after_request(_drain)
    access.init_app(app)
    app.wsgi_app = paced(app.wsgi_app)
    return app


def _to_first_page() -> BaseResponse:
    has_console = context().settings.console_secret is not None
    return redirect(f"{console.PREFIX}/" if has_console else "/docs/")


def _drain(response: Response) -> Response:
    """Read what is left of a refused upload, so that its sender gets to read the answer.

    A connection that is closed with unread bytes is reset, and the client would see that reset
    in the place of the problem document. What is read is thrown away, and bounded.
    """
    if response.status_code >= 400 and request.method in ("POST", "PUT"):
        stream = request.environ["wsgi.input"]
        length = request.content_length or 0
        usual = current_app.config["MAX_CONTENT_LENGTH"]
        limit = 4 * min(request.max_content_length or 0, usual)
        if length <= limit:
            read = 0
            with suppress(TooSlowError), Timeout(DRAIN_SECONDS, False):
                while read < limit and (chunk := stream.read(_DRAIN_CHUNK)):
                    read += len(chunk)
    return response
