"""Sign in, sign out, and what a visitor chooses of the pages' looks."""

from __future__ import annotations

from flask import Blueprint, redirect, request, session, url_for
from werkzeug.wrappers import Response

from services.api.console.rendering import page
from services.api.console.visitor import sign_in, sign_out, visitor
from services.api.context import context
from shared.errors import ForbiddenError, UnauthorizedError
from shared.triage.wording import Language

_THEMES = ("auto", "light", "dark")


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/sign-in", "sign_in", show_sign_in)
    bp.add_url_rule("/sign-in", "do_sign_in", do_sign_in, methods=["POST"])
    bp.add_url_rule("/sign-out", "sign_out", do_sign_out, methods=["POST"])
    bp.add_url_rule("/looks", "looks", choose_looks, methods=["POST"])


def show_sign_in() -> str | Response:
    """The form; whoever is signed in goes on."""
    if visitor() is not None:
        return redirect(_next())
    return page("sign_in.html", next=_next())


def do_sign_in() -> str | Response | tuple[str, int]:
    """Takes an API key."""
    try:
        sign_in(context().keys.authenticate(request.form.get("key", "").strip()))
    except (UnauthorizedError, ForbiddenError) as error:
        return page("sign_in.html", next=_next(), refusal=error), int(error.http_status)
    return redirect(_next())


def do_sign_out() -> Response:
    """Ends the session."""
    sign_out()
    return redirect(url_for("console.sign_in"))


def choose_looks() -> Response:
    """Language and colours, for this browser."""
    if (language := request.form.get("language")) in tuple(Language):
        session["language"] = language
    if (theme := request.form.get("theme")) in _THEMES:
        session["theme"] = theme
    return redirect(_next())


def _next() -> str:
    """Where to go on: a page of the console, and no other address (CWE-601)."""
    home = url_for("console.sign_out").rpartition("/")[0] + "/"
    wanted = request.values.get("next", "")
    is_ours = wanted.startswith(home) and "\\" not in wanted and "//" not in wanted
    return wanted if is_ours and not any(ord(one) < 33 for one in wanted) else home
