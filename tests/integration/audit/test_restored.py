"""A restored audit trail is the one that was backed up, and goes on."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from shared import audit
from shared.audit.notary import Notary
from shared.audit.seal import Sealer
from shared.audit.signing import PublicKeys, SigningKey
from shared.audit.verify import Expectations, verify
from shared.db.migrate import upgrade
from shared.db.session import create_sessions
from shared.settings import Settings
from tests.integration.backups import Place, a_place, back_up, restore


def attested_chain(source: Place) -> SigningKey:
    """Seal and attest three events; returns the key."""
    sessions = create_sessions(source.engine)
    _, key = SigningKey.generate()
    notary = Notary(sessions, source.storage, key, checkpoint_seconds=0)
    for _ in range(3):
        with sessions.begin() as session:
            audit.record(session, "relay", "job.expired")
        Sealer(sessions).seal()
        assert notary.attest()
    return key


def test_a_restored_audit_trail_is_verified_with_the_key_of_before(
    settings: Settings, tmp_path: Path
) -> None:
    with a_place(settings, "backup_source") as source, a_place(settings, "backup_target") as target:
        upgrade(source.engine)
        key = attested_chain(source)
        back_up(source, tmp_path)
        restore(target, tmp_path)
        sessions, storage = create_sessions(target.engine), target.storage
        expected = Expectations(keys=PublicKeys([key.public]))
        report = verify(sessions, storage, expected)
        assert (report.findings, report.covered, report.unsealed) == ([], 3, 0)
        assert Notary(sessions, storage, key, checkpoint_seconds=0).attest(), "it goes on"
        assert verify(sessions, storage, expected).covered == 4
        with sessions.begin() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            changed = "UPDATE audit_events SET actor = 'api' WHERE action = 'job.expired'"
            session.execute(text(changed))
        assert verify(sessions, storage, expected).found == 3
