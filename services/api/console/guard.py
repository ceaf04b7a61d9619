"""What every page of the console is guarded by: its origin, its session, its headers.

The headers follow the OWASP HTTP Headers Cheat Sheet; the policy names no other host and allows
neither inline scripts nor inline styles.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, g, make_response, redirect, request, url_for
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import CSRFError, CSRFProtect, ValidationError, validate_csrf
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from services.api.bodies import expect_little
from services.api.console.rendering import page
from services.api.console.visitor import is_local, visitor
from services.api.errors import told
from shared.errors import HemotriageError, UnauthorizedError

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # Pages are about patients: nothing of them stays in a cache.
    "Cache-Control": "no-store",
}

csrf = CSRFProtect()

# Forms of people who are not signed in; none has a file.
_OPEN = ("console.do_sign_in", "console.looks", "console.sign_out")

View = TypeVar("View", bound=Callable[..., Any])


class ConsoleSession(SecureCookieSessionInterface):
    """The cookie goes over TLS alone, except on the machine itself."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whatever a proxy in between speaks to us, a browser elsewhere must speak TLS to it."""
        return not is_local()


def guard(bp: Blueprint) -> None:
    """Guard the pages of a blueprint."""
    bp.before_request(_refuse_strangers_forms)
    bp.before_request(_refuse_forged)
    bp.after_request(_protect)
    bp.register_error_handler(HemotriageError, _refused)
    bp.register_error_handler(CSRFError, _forged)
    bp.register_error_handler(Exception, _broken)


def reads_its_token(view: View) -> View:
    """Let a view read its form as a stream: it gives the token in it to `check_token` itself."""
    csrf.exempt(view)
    return view


def check_token(token: str | None) -> None:
    """Make sure that a page of ours has sent a form.

    Raises:
        CSRFError: None has.
    """
    try:
        validate_csrf(token)
    except ValidationError as error:
        raise CSRFError from error


def _refuse_strangers_forms() -> None:
    """A form may be as large as an upload, and is read to find its token.

    Raises:
        UnauthorizedError: Nobody is signed in who could send one.
    """
    if request.endpoint in _OPEN:
        expect_little()
    elif request.method != "GET" and visitor() is None:
        raise UnauthorizedError


def _refuse_forged() -> None:
    csrf.protect(apply_exemptions=True)


def _protect(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refused(error: HemotriageError) -> BaseResponse:
    if isinstance(error, UnauthorizedError):
        return _to_sign_in()
    shown = page("error.html", error=error)
    return make_response(shown, int(error.http_status))


def _broken(error: Exception) -> BaseResponse:
    """What is not expected is logged as by the API, and told on a page."""
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.code or 500)
        said = {"title": f"{status.phrase}.", "code": status.name.lower()}
        return make_response(page("error.html", error=said), int(status))
    # Who looks may be what could not be found out.
    g.setdefault("visitor", None)
    return _refused(told(error))


def _to_sign_in() -> BaseResponse:
    """To the page that was asked for, once they have signed in."""
    address = url_for("console.sign_in", next=request.full_path.rstrip("?"))
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": url_for("console.sign_in")})
    if request.method != "GET":
        address = url_for("console.sign_in")
    return redirect(address)


def _forged(_: CSRFError) -> BaseResponse:
    return make_response(page("stale.html"), 400)
