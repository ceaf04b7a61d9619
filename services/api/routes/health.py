"""`/healthz` and `/readyz`."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from services.api.context import context
from services.api.readiness import checks, is_ready

bp = APIBlueprint("health", __name__, tag="Health")

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
    """503 unless all of them answer; no champion is no outage."""
    found = checks(context())
    ready = all(is_ready(state) for state in found.values())
    return {"status": "ok" if ready else "unavailable", "checks": found}, 200 if ready else 503
