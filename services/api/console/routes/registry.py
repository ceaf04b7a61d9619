"""The model versions: side by side, one by one, and what is done with them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from services.api.auth import actor
from services.api.console.cards import figures
from services.api.console.codes import in_words
from services.api.console.forms import given
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from services.api.dataset_intake import validated
from services.api.model_changes import judge, known_version, roll_back, set_alias, standing
from services.api.model_schemas import AliasIn, GateIn, RollbackIn
from shared.auth.keys import Scope
from shared.datasets.queries import ready_datasets
from shared.errors import NotFoundError, PermanentError
from shared.models.registry import ModelVersion
from shared.registry.aliases import gate_objection, retire_challenger
from shared.registry.gates import list_gates
from shared.registry.newest import newest_gates
from shared.registry.policy import read_policy
from shared.registry.shadow import agreement
from shared.registry.states import Alias

_GATES = 10
_OF_VERSION = ("judge", "promote", "challenger")
_OF_ALIASES = ("retire", "rollback")


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/models", "models", show_models)
    version = "/models/<name>/<int:version>"
    bp.add_url_rule(version, "model", show_model)
    bp.add_url_rule(f"{version}/gates", "model_gates", show_gates)
    bp.add_url_rule(f"{version}/<change>", "model_change", show_change)
    bp.add_url_rule(f"{version}/<change>", "change_model", do_change, methods=["POST"])
    bp.add_url_rule("/models/<change>", "aliases_change", show_aliases_change)
    bp.add_url_rule("/models/<change>", "change_aliases", do_aliases_change, methods=["POST"])


@needs(Scope.ADMIN)
def show_models() -> str:
    """All versions, and two of them side by side."""
    ctx = context()
    present = standing()
    versions = ctx.registry.versions()
    chosen = [_chosen(name, versions, present.aliases) for name in ("a", "b")]
    return page(
        "models.html",
        versions=versions,
        registered=ctx.registry.registered(),
        gates=newest_gates(ctx.sessions),
        figures={version: figures(version.card) for version in versions},
        standing=present,
        chosen=chosen,
    )


@needs(Scope.ADMIN)
def show_model(name: str, version: int) -> str:
    """One version: its card, its gates, and how it agreed as a challenger."""
    ctx = context()
    found = known_version(name, version)
    present = standing()
    return page(
        "model.html",
        figures=figures(found.card),
        registered=ctx.registry.registered().get((name, version)),
        shadow=agreement(ctx.sessions, name, version),
        standing=present,
        **_gates(found),
    )


@needs(Scope.ADMIN)
def show_gates(name: str, version: int) -> str:
    """How a version was judged; asked for again until the verdict is there."""
    return page("model_gates.html", **_gates(known_version(name, version)))


@needs(Scope.ADMIN)
def show_change(name: str, version: int, change: str) -> str:
    """Says what a change will do, and asks."""
    return _asked(change, known_version(name, version))


@needs(Scope.ADMIN)
def do_change(name: str, version: int, change: str) -> Response | tuple[str, int]:
    """Has a version judged, promotes it, or makes it challenger."""
    found = known_version(name, version)
    try:
        _change(change, found)
    except PermanentError as error:
        return _asked(change, found, refusal=error), int(error.http_status)
    return redirect(url_for("console.model", name=name, version=version))


@needs(Scope.ADMIN)
def show_aliases_change(change: str) -> str:
    """The same of a change that is about no version in particular."""
    return _asked(change, None)


@needs(Scope.ADMIN)
def do_aliases_change(change: str) -> Response | tuple[str, int]:
    """Retires the challenger, or rolls back."""
    try:
        _change(change, None)
    except PermanentError as error:
        return _asked(change, None, refusal=error), int(error.http_status)
    return redirect(url_for("console.models"))


def _change(change: str, version: ModelVersion | None) -> None:
    _refuse_unknown(change, version)
    form = given(request.form)
    if version is None:
        if change == "retire":
            retire_challenger(context().sessions, actor=actor())
        elif change == "rollback":
            asked = validated(RollbackIn, {k: form.get(k) for k in ("reason", "champion")})
            roll_back(reason=asked.reason, champion=asked.champion)
    elif change == "judge":
        judge(version, validated(GateIn, {"dataset_id": form.get("dataset_id")}).dataset_id)
    else:
        _set(Alias.CHAMPION if change == "promote" else Alias.CHALLENGER, version, form)


def _set(alias: Alias, version: ModelVersion, form: dict[str, str]) -> None:
    share = form.get("canary_percent", "0")
    values = {
        "version": version.version,
        "reason": form.get("reason"),
        # Python makes no number of thousands of digits.
        "canary_percent": int(share) if share.isdecimal() and len(share) <= 3 else share,
    }
    asked = validated(AliasIn, values)
    set_alias(
        alias,
        version,
        reason=asked.reason,
        agreeing=form.get("second_key"),
        canary_percent=asked.canary_percent or 0,
    )


def _refuse_unknown(change: str, version: ModelVersion | None) -> None:
    if change not in (_OF_ALIASES if version is None else _OF_VERSION):
        raise NotFoundError


def _asked(change: str, version: ModelVersion | None, **more: Any) -> str:
    _refuse_unknown(change, version)
    ctx = context()
    present = standing()
    policy = read_policy(ctx.settings.change_control_policy)
    objection = None
    if version is not None:
        objection = gate_objection(ctx.sessions, version, ctx.registry.champion(), policy)
    return page(
        "model_change.html",
        change=change,
        version=version,
        standing=present,
        test_sets=ready_datasets(ctx.sessions, locked=True) if change == "judge" else [],
        policy=policy,
        objection=objection,
        **more,
    )


def _gates(version: ModelVersion) -> dict[str, Any]:
    ctx = context()
    found = list_gates(ctx.sessions, name=version.name, version=version.version, limit=_GATES)
    return {"version": version, "gates": found, "in_words": in_words}


def _chosen(field: str, versions: list[ModelVersion], aliases: dict[str, str]) -> ModelVersion:
    """The version that is to stand in a column: the chosen one, else who matters most."""
    usual = (Alias.CHAMPION,) if field == "a" else (Alias.CHALLENGER, Alias.PREVIOUS)
    wanted = request.args.get(field)
    names = [wanted, *(aliases.get(alias) for alias in usual)]
    by_name = {str(version): version for version in versions}
    return next((by_name[name] for name in names if name in by_name), versions[-1])
