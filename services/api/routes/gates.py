"""`/v1/gates`: have a version judged by the change-control policy, and read what came of it."""

from __future__ import annotations

import uuid
from typing import Any

from apiflask import APIBlueprint

from services.api.auth import requires
from services.api.bodies import expect_little, optional_input
from services.api.context import context
from services.api.model_changes import judge, known_version
from services.api.model_schemas import (
    GateIn,
    GateListOut,
    GateListQuery,
    GateOut,
    gate_out,
    gate_summary,
)
from shared.auth.keys import Scope
from shared.registry.gates import get_gate, list_gates

bp = APIBlueprint("gates", __name__, url_prefix="/v1", tag="Gates")
bp.before_request(expect_little)

_RETRY_AFTER_SECONDS = "2"


# The key comes first: what a stranger sends is not even looked at.
@bp.post("/models/<name>/versions/<int:version>/gates")
@requires(Scope.ADMIN)
@optional_input(bp, GateIn)
@bp.output(GateOut, status_code=202, description="Queued; it is to be polled.")
@bp.doc(summary="Judge a model version", responses=[400, 404, 409, 413, 422], security="bearer")
def post_gate(name: str, version: int, asked: GateIn) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Compares it with the champion on a locked test set. Scope `admin`."""
    gate = judge(known_version(name, version), asked.dataset_id)
    out = gate_out(gate)
    headers = {"Location": out.links.self, "Retry-After": _RETRY_AFTER_SECONDS}
    return out.model_dump(mode="json"), 202, headers


@bp.get("/gates")
@requires(Scope.ADMIN)
@bp.input(GateListQuery, location="query", arg_name="query")
@bp.output(GateListOut)
@bp.doc(summary="List gates, newest first", security="bearer")
def read_gates(query: GateListQuery) -> dict[str, Any]:
    """The newest gates, of one model, of one version or of any. Scope `admin`."""
    found = list_gates(
        context().sessions, name=query.model, version=query.version, limit=query.limit
    )
    return GateListOut(gates=[gate_summary(gate) for gate in found]).model_dump(mode="json")


@bp.get("/gates/<uuid:gate_id>")
@requires(Scope.ADMIN)
@bp.output(GateOut)
@bp.doc(summary="Read a gate", responses=[404], security="bearer")
def read_gate(gate_id: uuid.UUID) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Where it stands and, once it is judged, its report. Scope `admin`."""
    gate = get_gate(context().sessions, gate_id)
    headers = {} if gate.status.is_final else {"Retry-After": _RETRY_AFTER_SECONDS}
    return gate_out(gate).model_dump(mode="json"), 200, headers
