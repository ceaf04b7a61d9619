"""Bearer keys and the scopes that routes ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import g, request

from services.api.context import context
from shared.auth.hosts import Address, client_address
from shared.auth.keys import ApiKey, Scope, have_one_holder, refuse_host
from shared.auth.makers import have_one_origin
from shared.errors import ForbiddenError, UnauthorizedError

View = TypeVar("View", bound=Callable[..., Any])

SECOND_KEY = "X-Second-Key"
"""The header of a second person's key."""

SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of this service, or a token of an OpenID provider it trusts.",
    }
}


class SecondKeyError(ForbiddenError):
    """The second key must be another one than the first, valid, and have the scope `admin`."""

    code = "second_key_invalid"


def requires(scope: Scope) -> Callable[[View], View]:
    """Let a view run only for a valid key, or token, that has the scope.

    Raises:
        UnauthorizedError: No valid key was sent.
        TooManyAttemptsError: Too many invalid ones came from the same address.
        ForbiddenError: The key lacks the scope, or may not be used from there.
        IssuerUnavailableError: The issuer of a token does not give its keys.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            # What is refused from here on was asked by somebody who is known.
            key = g.api_key = _sent_key()
            refuse_other_hosts(key)
            if scope not in key.scopes:
                raise ForbiddenError(f"This call needs the scope {scope}.")
            return view(*args, **kwargs)

        return cast(View, guarded)

    return decorate


def current_key() -> ApiKey:
    """The key of the running request, in a view behind `requires`."""
    return cast(ApiKey, g.api_key)


def actor() -> str:
    """Who makes the running request, for the audit trail; `anonymous` where nobody is known."""
    key: ApiKey | None = g.get("api_key")
    return "anonymous" if key is None else f"key:{key.id}"


def second_key(text: str | None) -> ApiKey | None:
    """The key with which a second admin agrees with what the running request asks for.

    Args:
        text: As it was sent; None: none was.

    Raises:
        SecondKeyError: It may not agree.
    """
    if text is None:
        return None
    try:
        key = authenticate(text)
        refuse_other_hosts(key)
    except (UnauthorizedError, ForbiddenError) as error:
        raise SecondKeyError(f"It is refused: {error.code}.") from error
    sessions, first = context().sessions, current_key()
    if have_one_holder(sessions, key, first):
        raise SecondKeyError("It is the first one, or one took the other's place.")
    if have_one_origin(sessions, key, first):
        raise SecondKeyError("Whoever made one of both has had the other in hand.")
    if Scope.ADMIN not in key.scopes:
        raise SecondKeyError(f"It lacks the scope {Scope.ADMIN}.")
    return key


def refuse_other_hosts(key: ApiKey) -> None:
    """Refuse a key that may not be used from where the running request comes from.

    Raises:
        HostNotAllowedError: It may not.
    """
    refuse_host(key, _address())


def authenticate(text: str) -> ApiKey:
    """Find the key, or the identity of the token, that the running request sent.

    From an address from which much has failed, only what was found valid before is looked at:
    behind it there may be others with keys that are good.

    Raises:
        TooManyAttemptsError: It is not looked at.
        UnauthorizedError: It is not valid.
        TenantMissingError: It is a token that names no tenant.
        IssuerUnavailableError: The issuer of a token does not give its keys.
    """
    ctx, address = context(), _address()
    if not ctx.keys.has_known(text):
        ctx.attempts.check(address)
    try:
        return ctx.keys.authenticate(text)
    except UnauthorizedError:
        ctx.attempts.failed(address)
        raise


def _address() -> Address | None:
    """Where the running request comes from; None where that is no address."""
    forwarded_for = request.headers.get("X-Forwarded-For", "")
    return client_address(request.remote_addr, forwarded_for, context().trusted_proxies)


def _sent_key() -> ApiKey:
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise UnauthorizedError
    return authenticate(authorization.token)
