"""`/v1/models`: the model versions, their cards, and which of them the aliases stand for."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from services.api.auth import actor, requires, second_key
from services.api.bodies import expect_little, optional_input
from services.api.context import context
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
from services.api.routes.jobs import FieldError
from shared.auth.keys import ApiKey, Scope
from shared.errors import NotFoundError, UnknownModelError
from shared.models.registry import ModelVersion, parse_reference
from shared.registry.aliases import promote, retire_challenger, rollback, set_challenger
from shared.registry.newest import newest_gates
from shared.registry.policy import read_policy
from shared.registry.shadow import agreement, disagreements
from shared.registry.states import Alias, GateNotPassedError, Override

bp = APIBlueprint("models", __name__, url_prefix="/v1/models", tag="Models")
bp.before_request(expect_little)


@bp.get("")
@requires(Scope.READ)
@bp.output(ModelListOut)
@bp.doc(summary="List model versions", security="bearer")
def read_models() -> dict[str, Any]:
    """Every version with its aliases, its metrics and its newest gate. Scope `read`."""
    ctx = context()
    standing = _standing()
    registered = ctx.registry.registered()
    gates = newest_gates(ctx.sessions)
    models = []
    for version in ctx.registry.versions():
        key = (version.name, version.version)
        names = [alias for alias, target in standing.aliases.items() if target == str(version)]
        models.append(model_version_out(version, names, registered.get(key), gates.get(key)))
    return ModelListOut(models=models, **standing.model_dump()).model_dump(mode="json")


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
    found = disagreements(context().sessions, name, version, limit=query.limit, before=query.before)
    out = DisagreementListOut.model_validate({"disagreements": found})
    return out.model_dump(mode="json")


# The key comes first: what a stranger sends is not even looked at.
@bp.put("/<name>/aliases/<alias>")
@requires(Scope.ADMIN)
@bp.input(AliasIn, arg_name="asked")
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
    ctx = context()
    chosen = _settable(alias, asked)
    approver = second_key()
    version = known_version(name, asked.version)
    override = None
    if approver is not None and asked.reason is not None:
        override = Override(reason=asked.reason, approver=approver.id)
    change: dict[str, Any] = {
        "champion": ctx.registry.champion(),
        "policy": read_policy(ctx.settings.change_control_policy),
        "actor": actor(),
        "reason": asked.reason,
        "override": override,
    }
    try:
        if chosen is Alias.CHAMPION:
            promote(ctx.sessions, version, **change)
        else:
            share = asked.canary_percent or 0
            set_challenger(ctx.sessions, version, canary_percent=share, **change)
    except GateNotPassedError as error:
        missing = _missing(asked.reason, approver)
        raise GateNotPassedError(f"{error.detail}{missing}") from error
    return _changed()


@bp.delete("/aliases/challenger")
@requires(Scope.ADMIN)
@bp.output(AliasesOut)
@bp.doc(summary="Retire the challenger", responses=[409], security="bearer")
def delete_challenger() -> dict[str, Any]:
    """It looks at no more jobs, and gets none. Scope `admin`."""
    retire_challenger(context().sessions, actor=actor())
    return _changed()


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
    registry = context().registry
    if (before := registry.aliases().get(Alias.PREVIOUS)) is not None:
        registry.resolve(before)  # a release may have taken it away
    rollback(context().sessions, actor=actor(), reason=asked.reason, expected=asked.champion)
    return _changed()


def known_version(name: str, version: int) -> ModelVersion:
    """The version of an address.

    Raises:
        NotFoundError: There is none such.
    """
    try:
        parse_reference(f"{name}@{version}")
        return context().registry.get(name, version)
    except UnknownModelError as error:
        raise NotFoundError(error.detail) from error


def _settable(alias: str, asked: AliasIn) -> Alias:
    if alias not in set(Alias):
        raise NotFoundError(f"There is no alias {alias!r}.")
    chosen = Alias(alias)
    if chosen is Alias.PREVIOUS:
        raise FieldError("alias: a promotion sets `previous`, and nobody else.")
    if chosen is not Alias.CHALLENGER and asked.canary_percent is not None:
        raise FieldError("canary_percent: only a challenger has one.")
    return chosen


def _missing(reason: str | None, approver: ApiKey | None) -> str:
    """What would still be needed of an override that was begun."""
    if reason is not None and approver is None:
        return " A second admin's key is missing: X-Second-Key."
    if approver is not None and reason is None:
        return " A reason is missing."
    return ""


def _changed() -> dict[str, Any]:
    """The aliases after a change of this request, which the catalogue may not have seen yet."""
    context().registry.refresh()
    return _standing().model_dump(mode="json")


def _standing() -> AliasesOut:
    registry = context().registry
    challenger = registry.challenger()
    share = 0 if challenger is None else challenger.canary_percent
    return AliasesOut(aliases=registry.aliases(), canary_percent=share)
