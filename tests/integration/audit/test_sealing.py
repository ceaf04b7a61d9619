"""Events get their places after they were committed, each one once, whoever seals."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import threading
import time

import pytest

from shared import audit
from shared.audit import prune as pruning
from shared.audit import seal
from shared.audit.checkpoint import TAIL_KEY
from shared.audit.prune import prune
from shared.audit.seal import Sealer
from shared.clock import utc_now
from shared.local.servers import LocalServers
from tests.integration.audit.trail import Trail, problems
from tests.waiting import eventually

HOURS_AGO = "UPDATE audit_checkpoints SET at = at - interval '5 hours' WHERE position <= :position"


def test_an_empty_trail_is_whole(trail: Trail) -> None:
    trail.checkpoint()
    report = trail.verify()
    assert (report.found, report.events, report.begins) == (0, 0, 1)
    assert list(trail.storage.list("audit/", after="")) == []


def test_events_are_sealed_in_their_order_and_once(trail: Trail) -> None:
    trail.write(5)
    assert [trail.sealer.seal(), trail.sealer.seal()] == [5, 0]
    trail.write(2)
    assert Sealer(trail.sessions).seal() == 2
    seals = trail.rows("SELECT position, event_id FROM audit_seals ORDER BY position")
    assert seals == [(number, number) for number in range(1, 8)]


def test_more_events_than_a_group_are_sealed_at_once(trail: Trail, monkeypatch) -> None:
    monkeypatch.setattr(seal, "_BATCH", 3)
    trail.write(7)
    assert trail.sealer.seal() == 7
    assert trail.verify().found == 0


@pytest.mark.parametrize("window", [seal.WINDOW, 0], ids=["in the window", "far below it"])
def test_an_event_that_is_committed_late_is_sealed(trail: Trail, monkeypatch, window: int) -> None:
    monkeypatch.setattr(seal, "WINDOW", window)
    monkeypatch.setattr(seal, "PART", 2)
    with trail.sessions() as late:
        audit.record(late, "operator", "test.late")
        late.flush()
        for _ in range(3):
            trail.write(2)
            assert trail.sealer.seal() == 2
        late.commit()
    passes = [trail.sealer.seal() for _ in range(6)]
    assert sum(passes) == 1
    assert trail.rows("SELECT event_id FROM audit_seals WHERE position = 7") == [(1,)]
    trail.checkpoint()
    assert trail.verify(unsealed_seconds=0).found == 0


def test_a_transaction_that_was_rolled_back_leaves_no_gap(trail: Trail) -> None:
    with trail.sessions() as session:
        audit.record(session, "operator", "test.undone")
        session.flush()
    trail.write(1)
    trail.checkpoint()
    assert trail.rows("SELECT position, event_id FROM audit_seals") == [(1, 2)]
    assert trail.verify().found == 0


def test_two_sealers_at_once_make_one_chain(trail: Trail) -> None:
    stop = threading.Event()

    def seal_on() -> None:
        sealer = Sealer(trail.sessions)
        while not stop.is_set():
            sealer.seal()

    threads = [threading.Thread(target=seal_on) for _ in range(2)]
    threads += [threading.Thread(target=trail.write, args=(30,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads[2:]:
        thread.join()
    eventually(lambda: trail.rows("SELECT count(*) FROM audit_seals") == [(90,)], 30)
    stop.set()
    for thread in threads[:2]:
        thread.join()
    report = trail.verify()
    assert (problems(report), report.events) == ([], 90)


def test_two_notaries_agree_and_the_store_may_lose_what_it_was_told(trail: Trail) -> None:
    other = trail.new_notary()
    trail.write(2)
    trail.checkpoint()
    assert other.attest()
    trail.storage.delete(TAIL_KEY)
    trail.write(2)
    trail.checkpoint()
    assert other.attest()
    assert trail.new_notary().attest()
    report = trail.verify()
    assert (problems(report), report.covered) == ([], 4)


def test_a_checkpoint_that_got_no_object_gets_it_from_the_next_notary(
    trail: Trail, monkeypatch
) -> None:
    trail.write(1)
    trail.sealer.seal()
    put = type(trail.storage).put

    def fail(self, key: str, *arguments: object) -> None:
        if "checkpoints" in key:
            raise ConnectionError
        put(self, key, *arguments)

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(type(trail.storage), "put", fail)
        trail.notary.attest()
    trail.notary = trail.new_notary()
    trail.write(1)
    trail.checkpoint()
    assert len(list(trail.storage.list("audit/checkpoints/", after=""))) == 2
    assert problems(trail.verify()) == []


def test_what_was_altered_before_it_was_attested_is_not_attested(trail: Trail, caplog) -> None:
    trail.write(3)
    trail.checkpoint()
    trail.write(3)
    trail.sealer.seal()
    trail.tamper("UPDATE audit_events SET actor = 'nobody' WHERE id = 5")
    assert not trail.notary.attest()
    assert "nothing is attested" in caplog.text
    assert trail.rows("SELECT max(position) FROM audit_checkpoints") == [(3,)]


def pruned_before(trail: Trail, moment: dt.datetime) -> int:
    """How many events were removed where nothing is held."""
    return prune(trail.sessions, moment, first_held=lambda *_: None).removed


def test_pruned_events_leave_a_chain_that_says_where_it_begins(trail: Trail, monkeypatch) -> None:
    monkeypatch.setattr(pruning, "_STEP", 1)
    for _ in range(4):
        trail.write(3)
        trail.checkpoint()
    keep_from = utc_now() - dt.timedelta(hours=1)
    assert pruned_before(trail, keep_from) == 0
    trail.tamper(HOURS_AGO, position=7)
    assert pruned_before(trail, keep_from) == 6
    assert pruned_before(trail, keep_from) == 0
    trail.notary = trail.new_notary()
    trail.checkpoint()
    # Their times were moved, which their signatures tell: those are not looked at here.
    report = trail.verify(public=None)
    assert (problems(report), report.begins, report.position) == ([], 7, 14)
    pruned = "SELECT actor, details ->> 'position' FROM audit_events WHERE action = 'audit.pruned'"
    assert trail.rows(pruned) == [("service:retention", "3"), ("service:retention", "6")]
    kept = "SELECT position FROM audit_checkpoints ORDER BY position"
    assert trail.rows(kept) == [(6,), (9,), (12,), (14,)]
    assert trail.verify(public=None, keep=dt.timedelta(hours=4)).found == 0
    early = problems(trail.verify(public=None, keep=dt.timedelta(hours=6)))
    assert early == [("beginning_cut", 1, None)]


@pytest.mark.parametrize(("held", "removed"), [(1, 0), (3, 0), (4, 3), (6, 3), (7, 6), (9, 6)])
def test_from_an_event_that_must_stay_all_stay(trail: Trail, held: int, removed: int) -> None:
    for _ in range(4):
        trail.write(3)
        trail.checkpoint()
    trail.tamper(HOURS_AGO, position=10)
    moment = utc_now() - dt.timedelta(hours=1)

    def first_held(_session: object, first: int, last: int) -> int | None:
        return held if first <= held <= last else None

    found = prune(trail.sessions, moment, first_held=first_held)
    assert (found.removed, found.held) == (removed, 9 - removed)
    trail.notary = trail.new_notary()
    trail.checkpoint()
    report = trail.verify(public=None)
    assert (problems(report), report.begins) == ([], removed + 1)


def test_what_is_held_between_two_steps_stays(trail: Trail, monkeypatch) -> None:
    monkeypatch.setattr(pruning, "_STEP", 1)
    for _ in range(4):
        trail.write(3)
        trail.checkpoint()
    trail.tamper(HOURS_AGO, position=10)
    asked = 0

    def first_held(*_: object) -> int | None:
        nonlocal asked
        asked += 1
        return 5 if asked > 1 else None

    moment = utc_now() - dt.timedelta(hours=1)
    assert prune(trail.sessions, moment, first_held=first_held).removed == 3
    trail.notary = trail.new_notary()
    trail.checkpoint()
    assert (problems(trail.verify(public=None)), trail.verify(public=None).begins) == ([], 4)


def test_all_may_be_pruned_and_the_chain_goes_on(trail: Trail) -> None:
    trail.write(3)
    trail.checkpoint()
    trail.tamper(HOURS_AGO, position=3)
    assert pruned_before(trail, utc_now() - dt.timedelta(hours=1)) == 3
    assert trail.new_notary().attest()
    trail.checkpoint()
    report = trail.verify(public=None)
    assert (problems(report), report.begins, report.position) == ([], 4, 4)


def test_a_kept_beginning_that_was_altered_is_found(trail: Trail) -> None:
    for _ in range(2):
        trail.write(3)
        trail.checkpoint()
    trail.tamper(HOURS_AGO, position=3)
    pruned_before(trail, utc_now() - dt.timedelta(hours=1))
    trail.checkpoint()
    trail.tamper("UPDATE audit_checkpoints SET hash = sha256('x') WHERE position = 3")
    found = problems(trail.verify(public=None))
    assert ("altered", 4, 4) in found
    trail.tamper("DELETE FROM audit_checkpoints WHERE position = 3")
    assert ("beginning_cut", 1, None) in problems(trail.verify(public=None))


SEAL_FOR_EVER = """
from shared.audit.run import run_sealing
from shared.db.session import create_database, create_sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
import threading
settings = Settings()
sessions = create_sessions(create_database(settings, pool_size=2))
run_sealing(settings, sessions, S3Store(settings, pool_size=2), threading.Event())
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_sealer_that_is_killed_leaves_a_whole_chain(trail: Trail, servers: LocalServers) -> None:
    environment = {
        **servers.environment(),
        "HEMOTRIAGE_AUDIT_SIGNING_KEY": trail.key_text,
        "HEMOTRIAGE_AUDIT_SEAL_SECONDS": "0.01",
        "HEMOTRIAGE_AUDIT_CHECKPOINT_SECONDS": "0.05",
    }
    for kill in range(8):
        sealing = subprocess.Popen([sys.executable, "-c", SEAL_FOR_EVER], env=environment)
        before = trail.rows("SELECT count(*) FROM audit_seals")
        trail.write(20)
        eventually(lambda was=before: trail.rows("SELECT count(*) FROM audit_seals") > was, 30)
        trail.write(20)
        time.sleep(0.02 * kill)
        sealing.send_signal(signal.SIGKILL)
        sealing.wait()
        assert problems(trail.verify()) == []
    trail.checkpoint()
    report = trail.verify(unsealed_seconds=0)
    assert (problems(report), report.events) == ([], 320)
