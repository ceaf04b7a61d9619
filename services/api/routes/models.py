"""`/v1/models`: the model versions, their cards, and which of them the aliases stand for."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import request

from services.api.auth import SECOND_KEY, actor, current_key, requires
from services.api.bodies import expect_little, json_input, optional_input
from services.api.context import context
from services.api.fields import FieldError
from services.api.model_changes import (
    known_version,
    roll_back,
    set_alias,
    standing,
)
from services.api.model_schemas import (
    AgreementOut,
    AliasesOut,
    AliasIn,
    DisagreementListOut,
    DisagreementListQuery,
    ModelListOut,
    RollbackIn,
    model_version_out,
)
from shared.auth.keys import Scope
from shared.errors import NotFoundError
from shared.registry.aliases import retire_challenger
from shared.registry.newest import newest_gates
from shared.registry.shadow import agreement, disagreements
from shared.registry.states import Alias

bp = APIBlueprint("models", __name__, url_prefix="/v1/models", tag="Models")
bp.before_request(expect_little)


@bp.get("")
@requires(Scope.READ)
@bp.output(ModelListOut)
@bp.doc(summary="List model versions", security="bearer")
def read_models() -> dict[str, Any]:
    """Every version with its aliases, its metrics and its newest gate. Scope `read`."""
    ctx = context()
    present = standing()
    registered = ctx.registry.registered()
    gates = newest_gates(ctx.sessions)
    models = []
    for version in ctx.registry.versions():
        key = (version.name, version.version)
        names = [alias for alias, target in present.aliases.items() if target == str(version)]
        models.append(model_version_out(version, names, registered.get(key), gates.get(key)))
    return ModelListOut(models=models, **present.model_dump()).model_dump(mode="json")


@bp.get("/<name>/versions/<int:version>")
@requires(Scope.READ)
@bp.doc(
    summary="The card of a model version",
    responses={
        200: {"description": "The card.", "content": {"application/json": {}}},
        404: "None such.",
    },
    security="bearer",
)
def read_card(name: str, version: int) -> dict[str, Any]:
    """Data, terms, training, metrics and hashes of one version. Scope `read`."""
    return known_version(name, version).card


@bp.get("/<name>/versions/<int:version>/shadow")
@requires(Scope.READ)
@bp.output(AgreementOut)
@bp.doc(summary="How a challenger agrees with the results", responses=[404], security="bearer")
def read_shadow(name: str, version: int) -> dict[str, Any]:
    """Counts over all jobs that it has looked at besides who answered them. Scope `read`."""
    known_version(name, version)
    found = agreement(context().sessions, name, version)
    return AgreementOut.model_validate(found).model_dump(mode="json")


@bp.get("/<name>/versions/<int:version>/shadow/disagreements")
@requires(Scope.READ)
@bp.input(DisagreementListQuery, location="query", arg_name="query")
@bp.output(DisagreementListOut)
@bp.doc(summary="List jobs on which both differ, newest first", responses=[404], security="bearer")
def read_disagreements(name: str, version: int, query: DisagreementListQuery) -> dict[str, Any]:
    """Prediction, confidence and urgency of both, and the newest review. Scope `read`."""
    known_version(name, version)
    found = disagreements(
        context().sessions,
        name,
        version,
        tenant=current_key().tenant,
        limit=query.limit,
        before=query.before,
    )
    out = DisagreementListOut.model_validate({"disagreements": found})
    return out.model_dump(mode="json")


# The key comes first: what a stranger sends is not even looked at.
@bp.put("/<name>/aliases/<alias>")
@requires(Scope.ADMIN)
@json_input(bp, AliasIn)
@bp.output(AliasesOut)
@bp.doc(
    summary="Promote a version, or make it challenger",
    responses=[400, 404, 409, 413, 422],
    security="bearer",
)
def put_alias(name: str, alias: str, asked: AliasIn) -> dict[str, Any]:
    """Sets `champion` or `challenger`. Scope `admin`.

    A version becomes champion, or gets a share of its jobs, once it has passed its gate; or for a
    `reason` with which the holder of a second key agrees.
    """
    chosen = _settable(alias, asked)
    agreeing = request.headers.get(SECOND_KEY)
    version = known_version(name, asked.version)
    share = asked.canary_percent or 0
    set_alias(chosen, version, reason=asked.reason, agreeing=agreeing, canary_percent=share)
    return standing().model_dump(mode="json")


@bp.delete("/aliases/challenger")
@requires(Scope.ADMIN)
@bp.output(AliasesOut)
@bp.doc(summary="Retire the challenger", responses=[409], security="bearer")
def delete_challenger() -> dict[str, Any]:
    """It looks at no more jobs, and gets none. Scope `admin`."""
    retire_challenger(context().sessions, actor=actor())
    return standing().model_dump(mode="json")


@bp.post("/rollback")
@requires(Scope.ADMIN)
@optional_input(bp, RollbackIn)
@bp.output(AliasesOut)
@bp.doc(
    summary="Make the former champion champion again",
    responses=[400, 409, 413, 422],
    security="bearer",
)
def post_rollback(asked: RollbackIn) -> dict[str, Any]:
    """Champion and previous change places; the challenger's share becomes 0. Scope `admin`."""
    roll_back(reason=asked.reason, champion=asked.champion)
    return standing().model_dump(mode="json")


def _settable(alias: str, asked: AliasIn) -> Alias:
    if alias not in set(Alias):
        raise NotFoundError(f"There is no alias {alias!r}.")
    chosen = Alias(alias)
    if chosen is Alias.PREVIOUS:
        raise FieldError("alias: a promotion sets `previous`, and nobody else.")
    if chosen is not Alias.CHALLENGER and asked.canary_percent is not None:
        raise FieldError("canary_percent: only a challenger has one.")
    return chosen
