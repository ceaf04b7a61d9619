"""`/v1/holds` and `/v1/erasures`: what is kept from removal, and what is removed for good."""

from __future__ import annotations

import uuid
from typing import Any

from apiflask import APIBlueprint

from services.api.auth import actor, requires
from services.api.bodies import expect_little, json_input
from services.api.context import context
from services.api.retention_schemas import (
    ErasureIn,
    ErasureListOut,
    ErasureListQuery,
    ErasureOut,
    HoldIn,
    HoldListOut,
    HoldListQuery,
    HoldOut,
    erasure_out,
    hold_out,
)
from shared.auth.keys import Scope
from shared.retention.erasures import get_erasure, list_erasures, request_erasure
from shared.retention.holds import list_holds, place, release

bp = APIBlueprint("retention", __name__, url_prefix="/v1", tag="Retention")
bp.before_request(expect_little)


# The key comes first: what a stranger sends is not even looked at.
@bp.post("/holds")
@requires(Scope.ADMIN)
@json_input(bp, HoldIn)
@bp.output(HoldOut, status_code=201)
@bp.doc(summary="Place a legal hold", responses=[400, 413, 422], security="bearer")
def post_hold(asked: HoldIn) -> tuple[dict[str, Any], int, dict[str, str]]:
    """What it covers is neither purged nor erased until it is released. Scope `admin`."""
    hold = place(
        context().sessions,
        asked.kind,
        asked.value,
        tenant=asked.tenant,
        reason=asked.reason,
        actor=actor(),
    )
    headers = {"Location": f"/v1/holds/{hold.id}"}
    return hold_out(hold).model_dump(mode="json"), 201, headers


@bp.get("/holds")
@requires(Scope.ADMIN)
@bp.input(HoldListQuery, location="query", arg_name="query")
@bp.output(HoldListOut)
@bp.doc(summary="List legal holds, newest first", security="bearer")
def read_holds(query: HoldListQuery) -> dict[str, Any]:
    """Those that hold, or with `released=true` all that ever did. Scope `admin`."""
    found = list_holds(context().sessions, released=query.released, limit=query.limit)
    return HoldListOut(holds=[hold_out(hold) for hold in found]).model_dump(mode="json")


@bp.delete("/holds/<uuid:hold_id>")
@bp.output(HoldOut)
@bp.doc(summary="Release a legal hold", responses=[404, 409], security="bearer")
@requires(Scope.ADMIN)
def delete_hold(hold_id: uuid.UUID) -> dict[str, Any]:
    """That it was there is kept; 409 where it was released before. Scope `admin`."""
    return hold_out(release(context().sessions, hold_id, actor=actor())).model_dump(mode="json")


@bp.post("/erasures")
@requires(Scope.ADMIN)
@json_input(bp, ErasureIn)
@bp.output(ErasureOut, status_code=202, description="It is done within seconds.")
@bp.doc(summary="Erase all data of a patient", responses=[400, 409, 413, 422], security="bearer")
def post_erasure(asked: ErasureIn) -> tuple[dict[str, Any], int, dict[str, str]]:
    """By the pseudonym; 409 `legal_hold`, and nothing is erased, if any is held. Scope `admin`."""
    ctx = context()
    erasure = request_erasure(
        ctx.sessions,
        asked.patient_ref,
        tenant=asked.tenant,
        reason=asked.reason,
        actor=actor(),
        secret=ctx.settings.pseudonym_secret,
    )
    out = erasure_out(erasure)
    return out.model_dump(mode="json"), 202, {"Location": out.links.self, "Retry-After": "1"}


@bp.get("/erasures")
@requires(Scope.ADMIN)
@bp.input(ErasureListQuery, location="query", arg_name="query")
@bp.output(ErasureListOut)
@bp.doc(summary="List erasures, newest first", security="bearer")
def read_erasures(query: ErasureListQuery) -> dict[str, Any]:
    """What was erased when, by ids; none says whose. Scope `admin`."""
    found = list_erasures(context().sessions, limit=query.limit)
    out = ErasureListOut(erasures=[erasure_out(erasure) for erasure in found])
    return out.model_dump(mode="json")


@bp.get("/erasures/<uuid:erasure_id>")
@bp.output(ErasureOut)
@bp.doc(summary="Read an erasure", responses=[404], security="bearer")
@requires(Scope.ADMIN)
def read_erasure(erasure_id: uuid.UUID) -> dict[str, Any]:
    """`done` with counts, or `refused` where a hold was placed meanwhile. Scope `admin`."""
    return erasure_out(get_erasure(context().sessions, erasure_id)).model_dump(mode="json")
