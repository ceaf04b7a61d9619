"""A purge, and erasures that are carried out at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.retention.erase import carry_out
from shared.retention.erasures import Erasure, request_erasure
from shared.retention.purge import Purge, Purged
from shared.storage.s3 import S3Store
from tests.integration.retention.patients import policy

NO_TIME = dt.timedelta(0)
SECRET = SecretStr("s" * 32)

Erase = Callable[..., Erasure]
Purging = Callable[..., dict[str, Purged]]


@pytest.fixture
def erase(sessions: Sessions, storage: S3Store) -> Erase:
    """Erases a patient, as the operator."""

    def done(patient_ref: str, *, tenant: str = DEFAULT_TENANT) -> Erasure:
        asked = request_erasure(
            sessions,
            patient_ref,
            tenant=tenant,
            reason="a_test",
            actor="operator",
            secret=SECRET,
        )
        return carry_out(sessions, storage, asked.id, again_after=NO_TIME)

    return done


@pytest.fixture
def purge(sessions: Sessions, storage: S3Store) -> Purging:
    """Makes a pass that keeps all for ever but some kinds; gives what it found of each."""

    def made(*, dry_run: bool = False, batch: int = 200, **keep: str) -> dict[str, Purged]:
        a_pass = Purge(sessions, storage, again_after=NO_TIME, batch=batch)
        return {one.kind: one for one in a_pass(policy(**keep), dry_run=dry_run)}

    return made
