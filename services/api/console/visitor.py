"""Who looks at the console: signed in by a key or by an OpenID provider, and for how long.

The session is a signed cookie. It names the key and not its secret, so that what a key may do, and
whether it still may, is asked at every page.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import g, request, session

from services.api.auth import refuse_other_hosts
from services.api.context import context
from shared import audit
from shared.auth.ended_sessions import end_session, has_ended
from shared.auth.keys import ApiKey, Scope, find_key, refuse_ended
from shared.clock import utc_now
from shared.errors import ForbiddenError, UnauthorizedError

View = TypeVar("View", bound=Callable[..., Any])

_ID, _KEY, _UNTIL, _SCOPES = "id", "key", "until", "scopes"


def sign_in(key: ApiKey) -> None:
    """Begin a session of somebody who has just shown who they are.

    Raises:
        ForbiddenError: The key may not be used from there.
    """
    refuse_other_hosts(key)
    kept = {name: session[name] for name in ("language", "theme") if name in session}
    session.clear()  # of whoever was here before, the CSRF secret included
    session.update(kept)
    until = utc_now() + dt.timedelta(hours=context().settings.console_session_hours)
    if key.issuer is not None:
        # What a token allows is in the token, and is over with it.
        session[_SCOPES] = sorted(key.scopes)
        until = min(filter(None, (until, key.expires_at)))
    session[_ID], session[_KEY] = str(uuid.uuid4()), key.id
    session[_UNTIL] = until.isoformat()
    session.permanent = True
    g.api_key = key
    _record("console.signed_in")


def sign_out() -> None:
    """End the session of the running request, and every copy of its cookie."""
    if _KEY in session:
        until = dt.datetime.fromisoformat(session[_UNTIL])
        with context().sessions.begin() as transaction:
            end_session(transaction, uuid.UUID(session[_ID]), until)
            audit.record(transaction, f"key:{session[_KEY]}", "console.signed_out")
    for name in (_ID, _KEY, _UNTIL, _SCOPES):
        session.pop(name, None)


def visitor() -> ApiKey | None:
    """Whoever is signed in; None for a stranger and for one whose session, or key, has ended."""
    if "visitor" not in g:
        g.visitor = _known()
    return cast(ApiKey | None, g.visitor)


def may(scope: Scope) -> bool:
    """Whether the visitor has a scope."""
    key = visitor()
    return key is not None and scope in key.scopes


def needs(*scopes: Scope) -> Callable[[View], View]:
    """Let a page be seen only by a visitor who has all of the scopes.

    Raises:
        UnauthorizedError: Nobody is signed in.
        ForbiddenError: A scope lacks.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            key = visitor()
            if key is None:
                raise UnauthorizedError
            g.api_key = key
            for scope in scopes:
                if scope not in key.scopes:
                    raise ForbiddenError(f"This page needs the scope {scope}.")
            return view(*args, **kwargs)

        return cast(View, guarded)

    return decorate


def _known() -> ApiKey | None:
    key_id, until = session.get(_KEY), session.get(_UNTIL, "")
    if key_id is None or dt.datetime.fromisoformat(until) <= utc_now():
        return None
    key = find_key(context().sessions, key_id)
    if key is None or has_ended(context().sessions, uuid.UUID(session[_ID])):
        return None
    try:
        refuse_ended(key)
        refuse_other_hosts(key)
    except (UnauthorizedError, ForbiddenError):
        return None
    return key if key.issuer is None else dataclasses.replace(key, scopes=_scopes())


def _scopes() -> frozenset[Scope]:
    said: Iterable[str] = session.get(_SCOPES, ())
    return frozenset(Scope(scope) for scope in said)


def _record(action: str) -> None:
    with context().sessions.begin() as transaction:
        audit.record(transaction, f"key:{session[_KEY]}", action)


def is_local() -> bool:
    """Whether the page is asked for on this machine, in plain HTTP."""
    host = request.host.rpartition(":")[0] or request.host
    return host in ("127.0.0.1", "localhost", "[::1]") and not request.is_secure
