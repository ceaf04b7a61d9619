"""API keys: made, checked, revoked. The database keeps a hash, never a key.

A key reads `ht_ID_SECRET`. The secret has 256 bits of randomness, so a plain SHA-256 of it can be
stored: there is nothing to guess that a slow hash would have to protect.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, func, select

from shared import audit
from shared.clock import utc_now
from shared.db.models import ApiKeyRow
from shared.db.session import Sessions, execute
from shared.errors import KeyExpiredError, KeyRevokedError, NotFoundError, UnauthorizedError

_PREFIX = "ht"


class Scope(StrEnum):
    """What a key allows."""

    SUBMIT = "submit"  # post and cancel jobs
    READ = "read"  # read jobs, results, images and models
    REVIEW = "review"  # confirm or override results
    ADMIN = "admin"  # data sets, trainings, model aliases, audit


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret."""

    id: str
    name: str
    scopes: frozenset[Scope]
    jobs_per_minute: int | None
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


def create_key(
    sessions: Sessions,
    name: str,
    scopes: Iterable[Scope],
    *,
    jobs_per_minute: int | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns it with its full text, which cannot be had again."""
    key_id = secrets.token_hex(6)
    secret = secrets.token_urlsafe(32)
    with sessions.begin() as session:
        row = ApiKeyRow(
            id=key_id,
            name=name,
            secret_sha256=_hash(secret),
            scopes=sorted(scopes),
            jobs_per_minute=jobs_per_minute,
            expires_at=expires_at,
        )
        session.add(row)
        audit.record(session, "operator", "key.created", key=key_id, scopes=sorted(scopes))
        session.flush()
        session.refresh(row)
        return _key_from_row(row), f"{_PREFIX}_{key_id}_{secret}"


def authenticate(sessions: Sessions, text: str) -> ApiKey:
    """Find the key that a client sent.

    Raises:
        UnauthorizedError: It is no key of this service.
        KeyExpiredError: It is one, and has expired.
        KeyRevokedError: It is one, and was revoked.
    """
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not key_id or not secret:
        raise UnauthorizedError
    statement = select(*ApiKeyRow.__table__.columns).where(ApiKeyRow.id == key_id)
    rows = execute(sessions, statement)
    if not rows or not hmac.compare_digest(rows[0].secret_sha256, _hash(secret)):
        raise UnauthorizedError
    key = _key_from_row(rows[0])
    if key.revoked_at is not None:
        raise KeyRevokedError
    refuse_expired(key)
    return key


def refuse_expired(key: ApiKey) -> None:
    """Raise KeyExpiredError if the key's time is over."""
    if key.expires_at is not None and key.expires_at <= utc_now():
        raise KeyExpiredError


def revoke_key(sessions: Sessions, key_id: str) -> None:
    """Revoke a key; it is refused from then on.

    Raises:
        NotFoundError: There is no such key.
    """
    with sessions.begin() as session:
        row = session.get(ApiKeyRow, key_id)
        if row is None:
            raise NotFoundError(f"There is no key {key_id}.")
        row.revoked_at = func.coalesce(ApiKeyRow.revoked_at, func.now())
        audit.record(session, "operator", "key.revoked", key=key_id)


def list_keys(sessions: Sessions) -> list[ApiKey]:
    """All keys, oldest first."""
    with sessions() as session:
        rows = session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created_at))
        return [_key_from_row(row) for row in rows]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key_from_row(row: ApiKeyRow | Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        jobs_per_minute=row.jobs_per_minute,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
