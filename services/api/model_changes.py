"""What the aliases stand for, and their changes: for clients and for the pages of the console."""

from __future__ import annotations

import uuid
from typing import Any

from services.api.auth import actor, second_key
from services.api.context import context
from services.api.model_schemas import AliasesOut
from shared.auth.keys import ApiKey
from shared.errors import NotFoundError, UnknownModelError
from shared.models.registry import ModelVersion, parse_reference
from shared.registry.aliases import promote, rollback, set_challenger
from shared.registry.gates import request_gate
from shared.registry.policy import read_policy
from shared.registry.states import Alias, AliasTarget, Gate, GateNotPassedError, Override


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


def standing() -> AliasesOut:
    """What the aliases stand for, read now.

    What a moment ago was true is not enough for whoever has just changed one: the change may have
    been made by another process.
    """
    registry = context().registry
    registry.refresh()
    challenger = registry.challenger()
    share = 0 if challenger is None else challenger.canary_percent
    return AliasesOut(aliases=registry.aliases(), canary_percent=share)


def judge(candidate: ModelVersion, dataset_id: uuid.UUID | None) -> Gate:
    """Have a version judged beside the champion.

    Args:
        candidate: The version.
        dataset_id: A locked test set; None: the newest one that is ready.

    Raises:
        PermanentError: As of `request_gate`.
    """
    ctx = context()
    ctx.registry.refresh()
    return request_gate(
        ctx.sessions,
        candidate,
        champion=ctx.registry.champion(),
        dataset_id=dataset_id,
        actor=actor(),
    )


def set_alias(
    alias: Alias,
    version: ModelVersion,
    *,
    reason: str | None,
    agreeing: str | None,
    canary_percent: int = 0,
) -> None:
    """Make a version champion, or challenger with a share of the champion's jobs.

    Args:
        alias: One of both.
        version: The version.
        reason: Why; needed where the gate was not passed.
        agreeing: The text of a second admin's key; needed there too.
        canary_percent: The challenger's share.

    Raises:
        SecondKeyError: The second key may not agree.
        ConflictError: The version is the champion already and cannot be its challenger.
        GateNotPassedError: It has not passed its gate, and what stands for that is not whole.
    """
    ctx = context()
    approver = second_key(agreeing)
    override = None
    if approver is not None and reason is not None:
        override = Override(reason=reason, approver=approver.id)
    change: dict[str, Any] = {
        "champion": ctx.registry.champion(),
        "policy": read_policy(ctx.settings.change_control_policy),
        "actor": actor(),
        "reason": reason,
        "override": override,
    }
    try:
        if alias is Alias.CHAMPION:
            promote(ctx.sessions, version, **change)
        else:
            set_challenger(ctx.sessions, version, canary_percent=canary_percent, **change)
    except GateNotPassedError as error:
        missing = _missing(reason, approver)
        raise GateNotPassedError(f"{error.detail}{missing}") from error


def roll_back(*, reason: str | None, champion: str | None) -> AliasTarget:
    """Make the former champion champion again.

    Args:
        reason: Why.
        champion: The version that is to go, NAME@VERSION; None: whichever it is.

    Raises:
        UnknownModelError: What was champion before is not there any more.
        ConflictError: As of `rollback`.
    """
    registry = context().registry
    if (before := registry.aliases().get(Alias.PREVIOUS)) is not None:
        registry.resolve(before)  # a release may have taken it away
    return rollback(context().sessions, actor=actor(), reason=reason, expected=champion)


def _missing(reason: str | None, approver: ApiKey | None) -> str:
    """What would still be needed of an override that was begun."""
    if reason is not None and approver is None:
        return " A second admin's key is missing: X-Second-Key."
    if approver is not None and reason is None:
        return " A reason is missing."
    return ""
