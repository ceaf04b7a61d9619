"""Whom issuers vouch for, as rows of `api_keys`: jobs, reviews and audit refer to them as to keys.

What somebody may do is in each token, and not in the row: the issuer decides, token by token.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from shared import audit
from shared.auth.keys import OPEN_COLUMNS, ApiKey, key_from_row, new_key_id, refuse_ended
from shared.auth.tokens import Bearer
from shared.db.models import ApiKeyRow
from shared.db.session import Sessions, execute
from shared.errors import KeyRevokedError

_NO_SECRET = ""


def identify(sessions: Sessions, bearer: Bearer) -> ApiKey:
    """The identity of somebody with a valid token, with what the token allows; made if new.

    Raises:
        KeyRevokedError: An operator has revoked the identity.
        KeyExpiredError: The token's time is over.
    """
    found = _of_subject(sessions, bearer)
    if bearer.tenant not in found:
        _add(sessions, bearer)
        found = _of_subject(sessions, bearer)
    # Whoever was shut out comes back in no other tenant.
    for identity in found.values():
        if identity.revoked_at is not None:
            raise KeyRevokedError
    key = found[bearer.tenant]
    expires_at = min(filter(None, (key.expires_at, bearer.expires_at)))
    key = dataclasses.replace(key, scopes=bearer.scopes, expires_at=expires_at)
    refuse_ended(key)
    return key


def _of_subject(sessions: Sessions, bearer: Bearer) -> dict[str, ApiKey]:
    """Somebody's identities by their tenants."""
    statement = select(*OPEN_COLUMNS).where(
        ApiKeyRow.issuer == bearer.issuer, ApiKeyRow.subject == bearer.subject
    )
    return {row.tenant: key_from_row(row) for row in execute(sessions, statement)}


def _add(sessions: Sessions, bearer: Bearer) -> None:
    """Write the row of somebody new, unless another request was quicker."""
    statement = (
        insert(ApiKeyRow)
        .values(
            id=new_key_id(),
            name=bearer.subject,
            secret_sha256=_NO_SECRET,
            scopes=[],
            issuer=bearer.issuer,
            subject=bearer.subject,
            tenant=bearer.tenant,
        )
        .on_conflict_do_nothing()
        .returning(ApiKeyRow.id)
    )
    with sessions.begin() as session:
        key_id = session.scalar(statement)
        if key_id is not None:
            audit.record(
                session,
                "api",
                "identity.added",
                key=key_id,
                issuer=bearer.issuer,
                tenant=bearer.tenant,
            )
