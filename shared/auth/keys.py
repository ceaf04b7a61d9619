"""API keys: made, checked, succeeded by others, revoked. The database keeps a hash, never a key.

A key reads `ht_ID_SECRET`. The secret has 256 bits of randomness, so a plain SHA-256 of it can be
stored: there is nothing to guess that a slow hash would have to protect.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, literal, or_, select, update
from sqlalchemy.orm import Session

from shared import audit
from shared.auth.hosts import Address, HostNotAllowedError, Networks, is_within
from shared.auth.scopes import Scope
from shared.auth.tenants import DEFAULT_TENANT, AdminTenantError, parse_tenant
from shared.clock import utc_now
from shared.db.models import ApiKeyRow
from shared.db.session import Sessions, execute
from shared.errors import (
    ConflictError,
    KeyExpiredError,
    KeyRevokedError,
    NotFoundError,
    UnauthorizedError,
)

__all__ = [
    "OPEN_COLUMNS",
    "ApiKey",
    "Scope",
    "authenticate",
    "create_key",
    "find_key",
    "have_one_holder",
    "key_from_row",
    "list_keys",
    "new_key_id",
    "refuse_ended",
    "refuse_expired",
    "refuse_host",
    "revoke_key",
    "rotate_key",
]

OPEN_COLUMNS = tuple(
    column for column in ApiKeyRow.__table__.columns if column.name != "secret_sha256"
)
"""What may be known of a key by who does not check its secret."""

_PREFIX = "ht"
_OPERATOR = "operator"


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret, or somebody who signs in elsewhere.

    Attributes:
        allowed_hosts: Networks that it may be used from; None: from anywhere.
        successor_of: The id of the key that it takes the place of.
        issuer: Who vouches for `subject`; None for a key of this service.
        subject: What the issuer calls somebody.
        tenant: Whose cases it is for.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    jobs_per_minute: int | None
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    allowed_hosts: Networks | None = None
    successor_of: str | None = None
    issuer: str | None = None
    subject: str | None = None
    tenant: str = DEFAULT_TENANT


def create_key(
    sessions: Sessions,
    name: str,
    scopes: Iterable[Scope],
    *,
    jobs_per_minute: int | None = None,
    expires_at: dt.datetime | None = None,
    allowed_hosts: Networks | None = None,
    tenant: str = DEFAULT_TENANT,
    actor: str = _OPERATOR,
) -> tuple[ApiKey, str]:
    """Make a key; returns it with its full text, which cannot be had again.

    Raises:
        ValueError: `tenant` is no name of one.
        AdminTenantError: It would have the scope `admin`, for another tenant than `default`.
    """
    granted = sorted(scopes)
    if Scope.ADMIN in granted and tenant != DEFAULT_TENANT:
        raise AdminTenantError
    row = ApiKeyRow(
        name=name,
        scopes=granted,
        tenant=parse_tenant(tenant),
        jobs_per_minute=jobs_per_minute,
        expires_at=expires_at,
        allowed_hosts=None if allowed_hosts is None else [str(each) for each in allowed_hosts],
    )
    with sessions.begin() as session:
        made = _add(session, row)
        audit.record(session, actor, "key.created", key=row.id, scopes=granted, tenant=tenant)
        return made


def rotate_key(
    sessions: Sessions, key_id: str, overlap: dt.timedelta, *, actor: str = _OPERATOR
) -> tuple[ApiKey, str]:
    """Make the successor of a key, which expires once the overlap is over.

    The successor has its name, tenant, scopes, rate and hosts. Where the key was made to expire,
    the successor lives as long as it was to live.

    Returns:
        The successor and its full text, which cannot be had again.

    Raises:
        NotFoundError: There is no such key.
        ConflictError: It is no longer valid, has a successor, or is no key but an identity.
    """
    with sessions.begin() as session:
        old = session.get(ApiKeyRow, key_id, with_for_update=True)
        if old is None:
            raise NotFoundError(f"There is no key {key_id}.")
        now = utc_now()
        _refuse_rotation(session, old, now)
        lifetime = old.expires_at and old.expires_at - old.created_at
        row = ApiKeyRow(
            name=old.name,
            tenant=old.tenant,
            scopes=old.scopes,
            jobs_per_minute=old.jobs_per_minute,
            expires_at=lifetime and now + lifetime,
            allowed_hosts=old.allowed_hosts,
            successor_of=old.id,
        )
        made = _add(session, row)
        old.expires_at = min(filter(None, (old.expires_at, now + overlap)))
        audit.record(session, actor, "key.rotated", key=old.id, successor=row.id)
        return made


def have_one_holder(sessions: Sessions, one: ApiKey, other: ApiKey) -> bool:
    """Whether two keys are the same, or one took the other's place, at once or over others.

    Identities of one subject in several tenants are one holder's too.
    """
    if one.issuer is not None and (one.issuer, one.subject) == (other.issuer, other.subject):
        return True
    newer = select(ApiKeyRow.id, ApiKeyRow.successor_of).where(ApiKeyRow.id.in_([one.id, other.id]))
    line = newer.add_columns(ApiKeyRow.id.label("origin")).cte("line", recursive=True)
    older = select(ApiKeyRow.id, ApiKeyRow.successor_of, line.c.origin)
    line = line.union(older.join(line, ApiKeyRow.id == line.c.successor_of))
    others = {one.id: other.id, other.id: one.id}
    found = execute(sessions, select(line.c.id, line.c.origin))
    return one.id == other.id or any(others[row.origin] == row.id for row in found)


def authenticate(sessions: Sessions, text: str) -> ApiKey:
    """Find the key that a client sent.

    Raises:
        UnauthorizedError: It is no key of this service.
        KeyExpiredError: It is one, and has expired.
        KeyRevokedError: It is one, and was revoked.
    """
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not key_id.isalnum() or not secret:  # the database takes no NUL
        raise UnauthorizedError
    statement = select(*ApiKeyRow.__table__.columns).where(
        ApiKeyRow.id == key_id, ApiKeyRow.issuer.is_(None)
    )
    rows = execute(sessions, statement)
    if not rows or not hmac.compare_digest(rows[0].secret_sha256, _hash(secret)):
        raise UnauthorizedError
    key = key_from_row(rows[0])
    refuse_ended(key)
    return key


def refuse_ended(key: ApiKey) -> None:
    """Raise KeyRevokedError or KeyExpiredError if the key may no longer be used."""
    if key.revoked_at is not None:
        raise KeyRevokedError
    refuse_expired(key)


def refuse_expired(key: ApiKey) -> None:
    """Raise KeyExpiredError if the key's time is over."""
    if key.expires_at is not None and key.expires_at <= utc_now():
        raise KeyExpiredError


def refuse_host(key: ApiKey, address: Address | None) -> None:
    """Raise HostNotAllowedError if the key may not be used from an address; None is an unknown."""
    networks = key.allowed_hosts
    if networks is not None and (address is None or not is_within(address, networks)):
        raise HostNotAllowedError


def revoke_key(sessions: Sessions, key_id: str, *, actor: str = _OPERATOR) -> None:
    """Revoke a key, or an identity in all of its tenants; it is refused from then on.

    Raises:
        NotFoundError: There is no such key.
    """
    with sessions.begin() as session:
        row = session.get(ApiKeyRow, key_id)
        if row is None:
            raise NotFoundError(f"There is no key {key_id}.")
        its = or_(ApiKeyRow.id == key_id, _is_of_subject(row.issuer, row.subject))
        revoked_at = func.coalesce(ApiKeyRow.revoked_at, func.now())
        session.execute(update(ApiKeyRow).where(its).values(revoked_at=revoked_at))
        audit.record(session, actor, "key.revoked", key=key_id)


def list_keys(sessions: Sessions) -> list[ApiKey]:
    """All keys, oldest first."""
    with sessions() as session:
        rows = session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created_at))
        return [key_from_row(row) for row in rows]


def find_key(sessions: Sessions, key_id: str) -> ApiKey | None:
    """The key with an id, whether or not it may still be used; None where there is none."""
    rows = execute(sessions, select(*OPEN_COLUMNS).where(ApiKeyRow.id == key_id))
    return key_from_row(rows[0]) if rows else None


def new_key_id() -> str:
    """A fresh id of a key, 12 hexadecimal digits."""
    return secrets.token_hex(6)


def _add(session: Session, row: ApiKeyRow) -> tuple[ApiKey, str]:
    """Complete a row with an id and a secret, and write it; returns the key and its text."""
    row.id = new_key_id()
    secret = secrets.token_urlsafe(32)
    row.secret_sha256 = _hash(secret)
    session.add(row)
    session.flush()
    session.refresh(row, ["created_at"])
    return key_from_row(row), f"{_PREFIX}_{row.id}_{secret}"


def _refuse_rotation(session: Session, old: ApiKeyRow, now: dt.datetime) -> None:
    if old.issuer is not None:
        raise ConflictError("It is an identity: its issuer renews its tokens.")
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise ConflictError("The key is no longer valid.")
    successor = session.scalar(select(ApiKeyRow.id).where(ApiKeyRow.successor_of == old.id))
    if successor is not None:
        raise ConflictError(f"Its successor is {successor}.")


def _is_of_subject(issuer: str | None, subject: str | None) -> ColumnElement[bool]:
    """The condition that a row is somebody's for whom an issuer vouches; of a key it is false."""
    return and_(ApiKeyRow.issuer == literal(issuer), ApiKeyRow.subject == literal(subject))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def key_from_row(row: ApiKeyRow | Row[Any]) -> ApiKey:
    """The key of a row of `api_keys`."""
    hosts = row.allowed_hosts
    networks = None if hosts is None else tuple(ipaddress.ip_network(each) for each in hosts)
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        jobs_per_minute=row.jobs_per_minute,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        allowed_hosts=networks,
        successor_of=row.successor_of,
        issuer=row.issuer,
        subject=row.subject,
        tenant=row.tenant,
    )
