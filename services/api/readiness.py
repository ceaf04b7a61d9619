"""Whether each server that the API depends on answers."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from services.api.context import Context
from shared.db.session import Sessions
from shared.errors import HemotriageError
from shared.registry.states import Alias, NoChampionError

_READY = ("ok", NoChampionError.code)
"""No champion is a state of a new service and no outage: data sets are made and models are trained
before there is one."""


def checks(ctx: Context) -> dict[str, str]:
    """What each of them says, by name: `ok`, or the code of its error."""
    return {
        "database": _check(lambda: _ping_database(ctx.sessions)),
        "broker": _check(ctx.broker.ping),
        "object_store": _check(ctx.storage.ping),
        "models": _check(lambda: ctx.registry.resolve(Alias.CHAMPION)),
    }


def is_ready(state: str) -> bool:
    """Whether a state keeps nobody from sending jobs."""
    return state in _READY


def _check(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (HemotriageError, SQLAlchemyError) as error:
        return getattr(error, "code", None) or "unavailable"
    return "ok"


def _ping_database(sessions: Sessions) -> None:
    with sessions() as session:
        session.execute(text("SELECT 1 FROM alembic_version"))
