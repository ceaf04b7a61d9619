"""Bearer keys and the scopes that routes ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import g, request

from services.api.context import context
from shared.auth.keys import ApiKey, Scope
from shared.errors import ForbiddenError, UnauthorizedError

View = TypeVar("View", bound=Callable[..., Any])

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key of this service."}
}


def requires(scope: Scope) -> Callable[[View], View]:
    """Let a view run only for a valid key that has the scope.

    Raises:
        UnauthorizedError: No valid key was sent.
        ForbiddenError: The key lacks the scope.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            key = _sent_key()
            if scope not in key.scopes:
                raise ForbiddenError(f"This call needs the scope {scope}.")
            g.api_key = key
            return view(*args, **kwargs)

        return cast(View, guarded)

    return decorate


def current_key() -> ApiKey:
    """The key of the running request, in a view behind `requires`."""
    return cast(ApiKey, g.api_key)


def _sent_key() -> ApiKey:
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise UnauthorizedError
    return context().keys.authenticate(authorization.token)
