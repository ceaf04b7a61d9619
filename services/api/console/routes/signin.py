"""Sign in, sign out, and what a visitor chooses of the pages' looks."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import urlsplit

from flask import Blueprint, redirect, request, session, url_for
from werkzeug.wrappers import Response

from services.api.auth import authenticate
from services.api.console.rendering import page
from services.api.console.visitor import sign_in, sign_out, visitor
from services.api.context import context
from shared.auth.attempts import TooManyAttemptsError
from shared.auth.code_flow import Attempt, CodeFlow, code_flows
from shared.auth.issuers import parse_issuers
from shared.auth.jwks import IssuerUnavailableError
from shared.auth.tokens import TokenInvalidError
from shared.errors import ForbiddenError, HemotriageError, NotFoundError, UnauthorizedError
from shared.triage.wording import Language

_ATTEMPT = "attempt"
_THEMES = ("auto", "light", "dark")
_REFUSALS = (UnauthorizedError, ForbiddenError, TooManyAttemptsError, IssuerUnavailableError)


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/sign-in", "sign_in", show_sign_in)
    bp.add_url_rule("/sign-in", "do_sign_in", do_sign_in, methods=["POST"])
    bp.add_url_rule("/sign-in/elsewhere", "sign_in_elsewhere", sign_in_elsewhere)
    bp.add_url_rule("/sign-in/back", "back_from_elsewhere", back_from_elsewhere)
    bp.add_url_rule("/sign-out", "sign_out", do_sign_out, methods=["POST"])
    bp.add_url_rule("/looks", "looks", choose_looks, methods=["POST"])


def show_sign_in() -> str | Response:
    """The form; whoever is signed in goes on."""
    if visitor() is not None:
        return redirect(_next())
    return _form()


def do_sign_in() -> str | Response | tuple[str, int]:
    """Takes an API key."""
    try:
        sign_in(authenticate(request.form.get("key", "").strip()))
    except _REFUSALS as error:
        return _form(error), int(error.http_status)
    return redirect(_next())


def sign_in_elsewhere() -> Response:
    """Sends the browser to an OpenID provider.

    Raises:
        NotFoundError: It is none of this service.
        IssuerUnavailableError: It does not answer.
    """
    flow = _flow(request.args.get("issuer", ""))
    address, attempt = flow.begin(_address_of_return())
    session[_ATTEMPT] = {**asdict(attempt), "next": _next()}
    return redirect(address)


def back_from_elsewhere() -> str | Response | tuple[str, int]:
    """Takes the code that the provider sent the browser back with."""
    kept = session.pop(_ATTEMPT, None)
    try:
        if kept is None:
            raise TokenInvalidError("This browser began no sign-in.")
        onward = kept.pop("next")
        attempt = Attempt(**kept)
        token = _flow(attempt.issuer).finish(
            attempt,
            state=request.args.get("state", ""),
            code=request.args.get("code", ""),
            redirect_uri=_address_of_return(),
        )
        sign_in(authenticate(token))
    except _REFUSALS as error:
        return _form(error), int(error.http_status)
    return redirect(onward)


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


def _form(refusal: HemotriageError | None = None) -> str:
    issuers = parse_issuers(context().settings.oidc_issuers)
    hosts = {issuer.url: urlsplit(issuer.url).hostname for issuer in issuers}
    return page("sign_in.html", next=_next(), refusal=refusal, issuers=hosts)


def _flow(issuer: str) -> CodeFlow:
    flow = code_flows(context().settings).get(issuer)
    if flow is None:
        raise NotFoundError("Nobody signs in there.")
    return flow


def _address_of_return() -> str:
    """What the provider must know as an address of this client."""
    address = url_for("console.back_from_elsewhere")
    return (context().settings.console_url or request.host_url.rstrip("/")) + address


def _next() -> str:
    """Where to go on: a page of the console, and no other address (CWE-601)."""
    home = url_for("console.sign_out").rpartition("/")[0] + "/"
    wanted = request.values.get("next", "")
    is_ours = wanted.startswith(home) and "\\" not in wanted and "//" not in wanted
    return wanted if is_ours and not any(ord(one) < 33 for one in wanted) else home
