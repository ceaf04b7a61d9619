"""Puts the console into the API's application, where it has a secret to sign sessions with."""

from __future__ import annotations

import datetime as dt

from apiflask import APIBlueprint
from flask import Flask

from services.api.console import rendering
from services.api.console.guard import ConsoleSession, csrf, guard
from services.api.console.routes import (
    case,
    case_files,
    data,
    home,
    keyring,
    monitoring,
    queues,
    registry,
    review,
    send,
    signin,
    trail,
    training,
    worklist,
)
from shared.settings import Settings

PREFIX = "/console"


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the console under `/console`; without a secret there is none."""
    if settings.console_secret is None:
        return
    app.config.update(
        SECRET_KEY=settings.console_secret.get_secret_value(),
        SESSION_COOKIE_NAME="hemotriage",
        SESSION_COOKIE_PATH=PREFIX,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=dt.timedelta(hours=settings.console_session_hours),
        WTF_CSRF_CHECK_DEFAULT=False,  # of the API, which no browser signs in to by a cookie
        WTF_CSRF_TIME_LIMIT=None,  # a token lives as long as its session
        WTF_CSRF_SSL_STRICT=False,  # behind a proxy that speaks TLS, the referrer is https
    )
    app.session_interface = ConsoleSession()
    csrf.init_app(app)
    rendering.init_app(app)
    console = APIBlueprint(
        "console",
        __name__,
        url_prefix=PREFIX,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
        enable_openapi=False,
    )
    for routes in (
        *(home, signin, worklist, send, case, case_files, review),
        *(queues, registry, data, training, monitoring, keyring, trail),
    ):
        routes.add(console)
    guard(console)
    app.register_blueprint(console)
