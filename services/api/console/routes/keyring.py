"""API keys: listed, made, rotated, revoked. A secret is shown once, on the page that made it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from flask import Blueprint, redirect, request, url_for
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from werkzeug.wrappers import Response

from services.api.auth import actor
from services.api.console.forms import given
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from services.api.dataset_intake import validated
from shared.auth.hosts import parse_networks
from shared.auth.keys import (
    ApiKey,
    Scope,
    create_key,
    find_key,
    list_keys,
    revoke_key,
    rotate_key,
)
from shared.auth.tenants import DEFAULT_TENANT, TENANT
from shared.clock import utc_now
from shared.errors import NotFoundError, PermanentError

_USUAL_OVERLAP_HOURS = 24


def _some_networks(text: str) -> str:
    if not parse_networks(text):
        raise ValueError("it names no host")
    return text


class NewKey(BaseModel):
    """A key as it is asked for; an empty field is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
    ]
    tenant: str = Field(DEFAULT_TENANT, pattern=TENANT)
    scopes: list[Scope] = Field(min_length=1)
    jobs_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    expires_in_days: float | None = Field(None, gt=0, le=36_500)
    hosts: Annotated[str, AfterValidator(_some_networks)] | None = None


class Rotation(BaseModel):
    """For how long both keys work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: float = Field(_USUAL_OVERLAP_HOURS, ge=0, le=8760)


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/keys", "keys", show_keys)
    bp.add_url_rule("/keys", "create_key", do_create, methods=["POST"])
    bp.add_url_rule("/keys/<key_id>/rotate", "rotation", show_rotation)
    bp.add_url_rule("/keys/<key_id>/rotate", "rotate_key", do_rotate, methods=["POST"])
    bp.add_url_rule("/keys/<key_id>/revoke", "revocation", show_revocation)
    bp.add_url_rule("/keys/<key_id>/revoke", "revoke_key", do_revoke, methods=["POST"])


@needs(Scope.ADMIN)
def show_keys() -> str:
    """All keys, without their secrets, and the form for another one."""
    return _listed()


@needs(Scope.ADMIN)
def do_create() -> str | tuple[str, int]:
    """Makes a key, and shows it this once."""
    fields = {name: value for name, value in given(request.form).items() if name != "scopes"}
    try:
        asked = validated(NewKey, {**fields, "scopes": request.form.getlist("scopes")})
        key, text = _made(asked)
    except PermanentError as error:
        return _listed(refusal=error), int(error.http_status)
    return page("keys_made.html", key=key, secret=text)


def _made(asked: NewKey) -> tuple[ApiKey, str]:
    days = asked.expires_in_days
    return create_key(
        context().sessions,
        asked.name,
        asked.scopes,
        tenant=asked.tenant,
        jobs_per_minute=asked.jobs_per_minute,
        expires_at=None if days is None else utc_now() + dt.timedelta(days=days),
        allowed_hosts=None if asked.hosts is None else parse_networks(asked.hosts),
        actor=actor(),
    )


@needs(Scope.ADMIN)
def show_rotation(key_id: str) -> str:
    """Says what a rotation will do, and asks."""
    return page("keys_change.html", key=_key(key_id), change="rotate", hours=_USUAL_OVERLAP_HOURS)


@needs(Scope.ADMIN)
def do_rotate(key_id: str) -> str:
    """Makes the successor of a key, and shows it this once."""
    hours = validated(Rotation, given(request.form)).hours
    overlap = dt.timedelta(hours=hours)
    key, text = rotate_key(context().sessions, _key(key_id).id, overlap, actor=actor())
    return page("keys_made.html", key=key, secret=text)


@needs(Scope.ADMIN)
def show_revocation(key_id: str) -> str:
    """Says what a revocation will do, and asks."""
    return page("keys_change.html", key=_key(key_id), change="revoke")


@needs(Scope.ADMIN)
def do_revoke(key_id: str) -> Response:
    """Revokes a key; it is refused from then on."""
    revoke_key(context().sessions, _key(key_id).id, actor=actor())
    return redirect(url_for("console.keys"))


def _listed(refusal: PermanentError | None = None) -> str:
    keys = list_keys(context().sessions)
    return page("keys.html", keys=keys, now=utc_now(), scopes=[*Scope], refusal=refusal)


def _key(key_id: str) -> ApiKey:
    # The database takes no text with a NUL in it.
    key = find_key(context().sessions, key_id) if key_id.isprintable() else None
    if key is None:
        raise NotFoundError(f"There is no key {key_id}.")
    return key
