"""A purge leaves what is held, whenever the hold came."""

from __future__ import annotations

import threading
import uuid

import pytest
from sqlalchemy import text

from shared import audit
from shared.audit.seal import Sealer
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.retention import holds
from shared.retention.held_events import first_held_event
from shared.retention.holds import HoldKind, alone
from shared.storage.s3 import S3Store
from tests.integration.retention.conftest import Purging
from tests.integration.retention.patients import a_patient, a_result_of, objects_of
from tests.waiting import eventually


def hold_the_patient(sessions: Sessions) -> None:
    named = {"tenant": DEFAULT_TENANT, "reason": "m-1", "actor": "operator"}
    holds.place(sessions, HoldKind.PATIENT_REF, "pn-1", **named)


@pytest.mark.parametrize("kind", list(HoldKind))
def test_what_is_held_stays_whatever_names_it(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging, kind: HoldKind
) -> None:
    kept, other = (a_patient(sessions, storage, key_id, name) for name in ("7", "8"))
    value = {
        HoldKind.JOB: str(kept.job_id).upper(),
        HoldKind.PATIENT_REF: kept.ref,
        HoldKind.ACCESSION_NUMBER: kept.accession_number,
    }[kind]
    hold = holds.place(sessions, kind, value, tenant=DEFAULT_TENANT, reason="m-1", actor="operator")
    everything = ("jobs", "images", "explanations", "review_comments", "shadow_results")
    found = purge(**dict.fromkeys(everything, "0 days"))
    assert {kind: (found[kind].removed, found[kind].held) for kind in everything} == dict.fromkeys(
        everything, (1, 1)
    )
    assert len(objects_of(storage, kept.job_id)) == 2
    assert objects_of(storage, other.job_id) == []
    holds.release(sessions, hold.id, actor="operator")
    assert purge(jobs="0 days")["jobs"].removed == 1


def test_the_trail_is_kept_from_the_first_event_of_what_is_held(
    sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    other, kept = (a_patient(sessions, storage, key_id, name) for name in ("7", "8"))
    Sealer(sessions).seal()
    named = {"tenant": DEFAULT_TENANT, "reason": "m-1", "actor": "operator"}
    hold = holds.place(sessions, HoldKind.PATIENT_REF, kept.ref, **named)
    of_patient = text(
        "SELECT min(position), max(position) FROM audit_seals JOIN audit_events "
        "ON id = event_id WHERE job_id = :job_id OR details ->> 'order' = CAST(:order_id AS text)"
    )

    def first_held(last: int) -> int | None:
        with sessions.begin() as session:
            return first_held_event(session, 1, last)

    with sessions() as session:
        (first, last), (earlier, _) = (
            session.execute(of_patient, {"job_id": one.job_id, "order_id": one.order_id}).one()
            for one in (kept, other)
        )
    assert earlier < first <= last
    assert (first_held(last), first_held(first - 1)) == (first, None)
    holds.release(sessions, hold.id, actor="operator")
    assert first_held(last) is None


@pytest.mark.parametrize("held", ["order", "hold", "holds"])
def test_events_of_a_held_order_and_of_the_hold_itself_are_kept(
    sessions: Sessions, storage: S3Store, key_id: str, held: str
) -> None:
    kept = a_patient(sessions, storage, key_id, "7")
    named = {"tenant": DEFAULT_TENANT, "reason": "m-1", "actor": "operator"}
    hold = holds.place(sessions, HoldKind.ACCESSION_NUMBER, kept.accession_number, **named)
    with sessions.begin() as session:
        audit.record(session, "key:k", "test.of_nobody", None, order=str(uuid.uuid4()))
        about = {
            "order": str(kept.order_id),
            "hold": str(hold.id),
            "holds": [str(uuid.uuid4()), str(hold.id)],
        }[held]
        audit.record(session, "key:k", "test.of_held", None, **{held: about})
    Sealer(sessions).seal()
    places = text(
        "SELECT position FROM audit_seals JOIN audit_events ON id = event_id WHERE action = :action"
    )
    with sessions.begin() as session:
        nobodys = session.scalars(places, {"action": "test.of_nobody"}).one()
        found = session.scalars(places, {"action": "test.of_held"}).one()
        assert first_held_event(session, nobodys, found) == found


def test_a_patients_hold_keeps_jobs_that_another_of_their_accession_number_vouches_for(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    jobs = [("pn-1", "A-1"), (None, "A-1"), ("pn-2", "A-1"), (None, "A-2")]
    for patient_ref, number in jobs:
        names = {"patient_ref": patient_ref, "accession_number": number}
        a_result_of(sessions, storage, key_id, **names)
    hold_the_patient(sessions)
    found = purge(jobs="0 days")["jobs"]
    assert (found.removed, found.held) == (2, 2)


def test_a_hold_waits_for_the_batch_under_way_and_wins_over_the_next(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    jobs = [a_result_of(sessions, storage, key_id, patient_ref="pn-1") for _ in range(3)]
    placed = threading.Thread(target=hold_the_patient, args=[sessions])
    with sessions.begin() as session:
        alone(session)  # a batch
        placed.start()
        eventually(lambda: waiting_for_locks(sessions) == 1)
        assert holds.list_holds(sessions) == []
    placed.join(10)
    found = purge(jobs="0 days", batch=1)["jobs"]
    assert (found.removed, found.held) == (0, 3)
    assert all(objects_of(storage, job.id) for job in jobs)


def waiting_for_locks(sessions: Sessions) -> int:
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with sessions() as session:
        return session.scalar(waiting) or 0


def test_a_batch_that_meets_a_new_hold_leaves_what_is_left(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging, monkeypatch
) -> None:
    """Of three jobs in batches of one, the hold comes after the first."""
    jobs = [a_result_of(sessions, storage, key_id, patient_ref="pn-1") for _ in range(3)]
    real, removed = storage.list, []

    def listed(prefix: str, *, after: str):
        if not removed:
            hold_the_patient(sessions)
        removed.append(prefix)
        return real(prefix, after=after)

    monkeypatch.setattr(storage, "list", listed)
    found = purge(jobs="0 days", batch=1)["jobs"]
    assert (found.removed, found.held) == (1, 2)
    monkeypatch.undo()
    assert [bool(objects_of(storage, job.id)) for job in jobs] == [False, True, True]
