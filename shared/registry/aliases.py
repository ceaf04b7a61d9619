"""What aliases stand for, and who may change it.

All changes are made one after the other, and each is in the audit trail.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared import audit
from shared.clock import utc_now
from shared.db.models import ModelAliasRow
from shared.db.session import Sessions, execute
from shared.errors import ConflictError
from shared.models.registry import ModelVersion, parse_reference
from shared.registry.gates import newest_gate
from shared.registry.policy import ChangeControlPolicy
from shared.registry.states import (
    Alias,
    AliasNotSetError,
    AliasTarget,
    Gate,
    GateNotPassedError,
    GateStatus,
    Override,
    RolledBackError,
)

_CHANGES = int.from_bytes(b"aliases\0") >> 1
"""The advisory lock of whoever changes an alias; any number of 63 bits."""


def read_aliases(sessions: Sessions) -> dict[Alias, AliasTarget]:
    """What the aliases stand for that were set here; a shipped champion has none."""
    return {
        Alias(row.alias): _target_of(row)
        for row in execute(sessions, select(*ModelAliasRow.__table__.c))
    }


def promote(
    sessions: Sessions,
    version: ModelVersion,
    *,
    champion: str | None,
    policy: ChangeControlPolicy,
    actor: str,
    reason: str | None = None,
    override: Override | None = None,
) -> None:
    """Make a version champion; the one that was it becomes `previous`.

    A challenger stays, and gets no share of the jobs any more. The version that is champion
    already, by what was shipped, is so from now on whatever is shipped later.

    Args:
        sessions: The database.
        version: The version.
        champion: The shipped champion, for as long as no alias was set here.
        policy: By which a gate must have been passed.
        actor: Who promotes, as in `audit.record`.
        reason: Why, for the audit trail.
        override: Stands for a gate that was not passed.

    Raises:
        GateNotPassedError: Neither a passed gate nor an override is there.
    """
    with sessions.begin() as session:
        present = _locked(session)
        leading = _leading(present, champion)
        if leading == str(version):
            if Alias.CHAMPION not in present:  # from now on no upgrade brings another
                _put(session, Alias.CHAMPION, version.name, version.version)
                _tell(session, actor, "model.promoted", leading, previous=leading, **_given(reason))
            return
        why = _permission(session, version, leading, policy, override)
        _put(session, Alias.CHAMPION, version.name, version.version)
        if leading is not None:
            name, number = parse_reference(leading)
            _put(session, Alias.PREVIOUS, name, number or 0)
        if str(present.get(Alias.CHALLENGER)) == str(version):
            _remove(session, Alias.CHALLENGER)
        _share(session, 0)  # its verdict was against another champion
        told = {"previous": leading, **_given(reason), **why}
        _tell(session, actor, "model.promoted", str(version), **told)


def set_challenger(
    sessions: Sessions,
    version: ModelVersion,
    *,
    canary_percent: int = 0,
    champion: str | None,
    policy: ChangeControlPolicy,
    actor: str,
    reason: str | None = None,
    override: Override | None = None,
) -> None:
    """Make a version challenger; a share of the champion's jobs takes what a promotion takes.

    Args:
        sessions: The database.
        version: The version.
        canary_percent: Of the jobs for the champion, in percent.
        champion: The shipped champion, for as long as no alias was set here.
        policy: By which a gate must have been passed.
        actor: Who does it, as in `audit.record`.
        reason: Why, for the audit trail.
        override: Stands for a gate that was not passed.

    Raises:
        ConflictError: The version is the champion.
        GateNotPassedError: It is to get jobs, and neither a passed gate nor an override is there.
    """
    with sessions.begin() as session:
        present = _locked(session)
        leading = _leading(present, champion)
        if leading == str(version):
            raise ConflictError(f"{version} is the champion.")
        why = _permission(session, version, leading, policy, override) if canary_percent else {}
        if str(present.get(Alias.CHALLENGER)) != str(version):
            _put(session, Alias.CHALLENGER, version.name, version.version)
        _share(session, canary_percent)
        told = {"canary_percent": canary_percent, **_given(reason), **why}
        _tell(session, actor, "model.challenger_set", str(version), **told)


def gate_objection(
    sessions: Sessions, version: ModelVersion, champion: str | None, policy: ChangeControlPolicy
) -> str | None:
    """Why a version's newest gate does not let it pass as things stand; None: it does."""
    with sessions() as session:
        gate = newest_gate(session, version.name, version.version)
    return _objection(gate, champion, policy)


def retire_challenger(sessions: Sessions, *, actor: str) -> None:
    """Have no challenger any more.

    Raises:
        AliasNotSetError: There is none.
    """
    with sessions.begin() as session:
        challenger = _locked(session).get(Alias.CHALLENGER)
        if challenger is None:
            raise AliasNotSetError("There is no challenger.")
        _remove(session, Alias.CHALLENGER)
        _tell(session, actor, "model.challenger_retired", str(challenger))


def rollback(
    sessions: Sessions,
    *,
    actor: str,
    reason: str | None = None,
    expected: str | None = None,
) -> AliasTarget:
    """Make the version champion again that was it before; both change places.

    A challenger stays, and gets no share of the jobs any more.

    Args:
        sessions: The database.
        actor: Who rolls back, as in `audit.record`.
        reason: Why.
        expected: The champion that is to go, `NAME@VERSION`, so that a call that is repeated does
            not bring it back; None: whichever it is.

    Returns:
        The champion from now on.

    Raises:
        RolledBackError: Another one is champion.
        AliasNotSetError: Nothing was champion before.
    """
    with sessions.begin() as session:
        present = _locked(session)
        leading, before = present.get(Alias.CHAMPION), present.get(Alias.PREVIOUS)
        if leading is None or before is None:
            raise AliasNotSetError("No version was champion before.")
        if expected not in (None, str(leading)):
            raise RolledBackError(f"It is {leading}.")
        _put(session, Alias.CHAMPION, before.name, before.version)
        _put(session, Alias.PREVIOUS, leading.name, leading.version)
        if str(present.get(Alias.CHALLENGER)) == str(before):
            _remove(session, Alias.CHALLENGER)
        _share(session, 0)
        told = {"previous": str(leading), **_given(reason)}
        _tell(session, actor, "model.rolled_back", str(before), **told)
        return AliasTarget(before.name, before.version, utc_now())


def _leading(present: dict[Alias, AliasTarget], shipped: str | None) -> str | None:
    return str(present[Alias.CHAMPION]) if Alias.CHAMPION in present else shipped


def _permission(
    session: Session,
    version: ModelVersion,
    champion: str | None,
    policy: ChangeControlPolicy,
    override: Override | None,
) -> dict[str, str]:
    """By what a version may answer patients' images, for the audit trail."""
    gate = newest_gate(session, version.name, version.version)
    objection = _objection(gate, champion, policy)
    if gate is not None and objection is None:
        return {"gate": str(gate.id)}
    if override is None:
        raise GateNotPassedError(f"{version}: {objection}")
    details = {"reason": override.reason, "approver": f"key:{override.approver}"}
    return {**details, "objection": str(objection)}


def _objection(gate: Gate | None, champion: str | None, policy: ChangeControlPolicy) -> str | None:
    """Why a gate does not let its version pass; None: it does."""
    if gate is None:
        return "no gate was asked for."
    if gate.status is not GateStatus.PASSED or gate.finished_at is None:
        return f"its newest gate, {gate.id}, is {gate.status}."
    if gate.champion != champion:
        return f"its newest gate compared it with {gate.champion or 'nothing'}, not {champion}."
    if gate.policy_sha256 != policy.sha256:
        return "its newest gate was passed by another policy."
    if utc_now() - gate.finished_at > dt.timedelta(days=policy.valid_days):
        return f"its newest gate was passed more than {policy.valid_days} days ago."
    return None


def _locked(session: Session) -> dict[Alias, AliasTarget]:
    """The aliases, which nobody else changes until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(_CHANGES)))
    rows = session.scalars(select(ModelAliasRow))
    return {Alias(row.alias): _target_of(row) for row in rows}


def _put(session: Session, alias: Alias, name: str, version: int) -> None:
    values = {"name": name, "version": version, "since": func.clock_timestamp()}
    statement = insert(ModelAliasRow).values(alias=alias, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["alias"], set_=values))


def _share(session: Session, canary_percent: int) -> None:
    """Set the challenger's share; that it is challenger, and since when, stays as it is."""
    challenger = update(ModelAliasRow).where(ModelAliasRow.alias == Alias.CHALLENGER)
    session.execute(challenger.values(canary_percent=canary_percent))


def _remove(session: Session, alias: Alias) -> None:
    session.execute(delete(ModelAliasRow).where(ModelAliasRow.alias == alias))


def _target_of(row: Any) -> AliasTarget:
    return AliasTarget(row.name, row.version, row.since, row.canary_percent)


def _given(reason: str | None) -> dict[str, str]:
    return {} if reason is None else {"reason": reason}


def _tell(session: Session, actor: str, action: str, model: str, **details: object) -> None:
    audit.record(session, actor, action, None, model=model, **details)
