"""`/healthz` and `/readyz`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from services.api.context import context
from shared.errors import HemotriageError
from shared.registry.states import Alias, NoChampionError

bp = APIBlueprint("health", __name__, tag="Health")

_READY = ("ok", NoChampionError.code)
_STATES = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {
                "status": {"type": "string", "enum": ["ok", "unavailable"]},
                "checks": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["status", "checks"],
        }
    }
}


@bp.get("/healthz")
@bp.doc(summary="Liveness: this process answers; it asks nobody else")
def healthz() -> dict[str, str]:
    """Always `ok`."""
    return {"status": "ok"}


@bp.get("/readyz")
@bp.doc(
    summary="Readiness: each server that the API depends on, by name",
    responses={
        200: {"description": "All of them answer.", "content": _STATES},
        503: {"description": "Some do not.", "content": _STATES},
    },
)
def readyz() -> tuple[dict[str, Any], int]:
    """503 unless all of them answer.

    No champion is a state of a new service and no outage: data sets are made and models are trained
    before there is one.
    """
    ctx = context()
    checks = {
        "database": _check(_ping_database),
        "broker": _check(ctx.broker.ping),
        "object_store": _check(ctx.storage.ping),
        "models": _check(lambda: ctx.registry.resolve(Alias.CHAMPION)),
    }
    ready = all(state in _READY for state in checks.values())
    return {"status": "ok" if ready else "unavailable", "checks": checks}, 200 if ready else 503


def _check(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (HemotriageError, SQLAlchemyError) as error:
        return getattr(error, "code", None) or "unavailable"
    return "ok"


def _ping_database() -> None:
    with context().sessions() as session:
        session.execute(text("SELECT 1 FROM alembic_version"))
