"""What of the audit trail waits is told without reading all of it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from shared import audit
from shared.audit.backlog import audit_backlog
from shared.audit.notary import Notary
from shared.audit.seal import Sealer
from shared.db.session import Sessions
from shared.storage.s3 import S3Store
from tests.integration.audit.trail import empty


def an_event(sessions: Sessions, seconds_ago: int) -> None:
    with sessions.begin() as session:
        audit.record(session, "relay", "job.expired")
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text(
                "UPDATE audit_events SET at = now() - make_interval(secs => :ago) WHERE at = now()"
            ),
            {"ago": seconds_ago},
        )


def test_events_wait_to_be_sealed_and_then_to_be_attested(
    sessions: Sessions, storage: S3Store
) -> None:
    empty(storage)
    for seconds_ago in (90, 30):
        an_event(sessions, seconds_ago)
    found = audit_backlog(sessions)
    assert (found.unsealed, found.unattested_seconds) == (2, 0)
    assert found.unsealed_seconds == pytest.approx(90, abs=20)
    Sealer(sessions).seal()
    found = audit_backlog(sessions)
    assert (found.unsealed, found.unsealed_seconds) == (0, 0)
    assert found.unattested_seconds == pytest.approx(90, abs=20)
    assert Notary(sessions, storage, None, checkpoint_seconds=0).attest()
    assert audit_backlog(sessions).unattested_seconds == 0
