"""What somebody can do who writes to the database and to the object store, and has no key."""

from __future__ import annotations

from shared.audit.anchors import newest_checkpoint
from shared.audit.checkpoint import TAIL_KEY
from tests.integration.audit.trail import REWRITE, Trail, empty, problems, rewrite


def test_a_trail_that_was_computed_again_is_not_signed_by_the_relay_that_runs(
    attested: Trail,
) -> None:
    assert attested.notary.attest()
    kept = newest_checkpoint(attested.sessions)
    assert kept is not None
    attested.tamper("DELETE FROM audit_checkpoints")
    empty(attested.storage)
    rewrite(attested, REWRITE)
    for _ in range(3):
        assert not attested.notary.attest()
    assert attested.rows("SELECT count(*) FROM audit_checkpoints") == [(0,)]
    assert attested.new_notary().attest(), "one that starts knows what both places say"
    assert problems(attested.verify()) == []
    assert problems(attested.verify(kept=(kept,))) == [("checkpoint_differs", 12, 12)]


def test_a_trail_that_ends_early_is_found_by_a_checkpoint_kept_elsewhere(attested: Trail) -> None:
    assert attested.notary.attest()
    kept = newest_checkpoint(attested.sessions)
    assert kept is not None
    attested.tamper(
        "DELETE FROM audit_events WHERE id > 8",
        "DELETE FROM audit_seals WHERE position > 8",
        "DELETE FROM audit_checkpoints WHERE position > 8",
    )
    for key in (kept.key, TAIL_KEY):
        attested.storage.delete(key)
    for _ in range(3):
        assert not attested.notary.attest()
    report = attested.verify()
    assert (problems(report), report.covered) == ([], 8)
    assert problems(attested.verify(kept=(kept,))) == [("tail_cut", 9, None)]
