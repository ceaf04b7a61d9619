"""The same pseudonym in two hospitals is two people: what is done about one is not of the other."""

from __future__ import annotations

import uuid

import pytest
from flask.testing import FlaskClient

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.errors import NotFoundError
from shared.jobs.queries import get_job
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.orders.queries import get_order
from shared.retention import holds
from shared.retention.erase import carry_out_all
from shared.retention.erasures import digest_of
from shared.retention.holds import HoldKind, LegalHoldError
from shared.retention.ledger import Entry
from shared.retention.reapply import reapply
from shared.retention.removed import JobErasedError
from shared.storage.s3 import S3Store
from tests.integration.retention.conftest import NO_TIME, SECRET, Erase, Purging
from tests.integration.retention.patients import Patient, a_patient, objects_of

NORTH = "north"


@pytest.fixture
def north_key(sessions: Sessions) -> tuple[str, str]:
    """The id and the text of a key of another tenant."""
    key, secret = create_key(sessions, "north", [Scope.READ, Scope.REVIEW], tenant=NORTH)
    return key.id, secret


@pytest.fixture
def here(sessions: Sessions, storage: S3Store, key_id: str) -> Patient:
    """A patient of `default`."""
    return a_patient(sessions, storage, key_id)


@pytest.fixture
def north(sessions: Sessions, storage: S3Store, north_key: tuple[str, str]) -> Patient:
    """Another one, with the same pseudonym and the same accession number."""
    return a_patient(sessions, storage, north_key[0], tenant=NORTH)


def is_whole(sessions: Sessions, storage: S3Store, patient: Patient, tenant: str) -> bool:
    job = get_job(sessions, patient.job_id, tenant=tenant)
    order = get_order(sessions, patient.order_id, tenant=tenant)
    found = (job.patient_ref, order.patient_ref, len(objects_of(storage, patient.job_id)))
    return job.result is not None and found == (patient.ref, patient.ref, 2)


def test_an_erasure_leaves_the_patient_of_the_same_pseudonym_in_another_tenant(
    sessions: Sessions, storage: S3Store, here: Patient, north: Patient, erase: Erase
) -> None:
    assert here.ref == north.ref
    done = erase(here.ref, tenant=DEFAULT_TENANT)
    assert done.tenant == DEFAULT_TENANT
    assert (done.job_ids, done.order_ids) == ((here.job_id,), (here.order_id,))
    assert is_whole(sessions, storage, north, NORTH)
    assert erase(north.ref, tenant=NORTH).job_ids == (north.job_id,)


def test_an_erased_or_purged_job_never_was_for_another_tenant(
    client: FlaskClient,
    *,
    here: Patient,
    north: Patient,
    north_key: tuple[str, str],
    erase: Erase,
    purge: Purging,
) -> None:
    erase(north.ref, tenant=NORTH)
    purge(jobs="0 days")
    its_own = client.application.test_client()
    bearer = {"Authorization": f"Bearer {north_key[1]}"}
    for gone, code, owner, other in (
        (north.job_id, "erased", (its_own, bearer), (client, None)),
        (here.job_id, "purged", (client, None), (its_own, bearer)),
    ):
        for part in ("", "/result", "/images/0", "/images/0/explanation"):
            told = owner[0].get(f"/v1/jobs/{gone}{part}", headers=owner[1])
            assert (told.status_code, told.json["code"]) == (410, code), part
            theirs = other[0].get(f"/v1/jobs/{gone}{part}", headers=other[1])
            nobody = uuid.UUID(int=4)
            nobodys = other[0].get(f"/v1/jobs/{nobody}{part}", headers=other[1])
            assert (theirs.status_code, nobodys.status_code) == (404, 404), part
            assert theirs.text.replace(str(gone), str(nobody)) == nobodys.text
        review = {"json": {"decision": "confirm"}}
        theirs = other[0].post(f"/v1/jobs/{gone}/review", headers=other[1], **review)
        assert theirs.status_code == 404


@pytest.mark.parametrize("kind", [HoldKind.PATIENT_REF, HoldKind.ACCESSION_NUMBER])
def test_a_hold_is_of_its_tenant(
    sessions: Sessions,
    storage: S3Store,
    *,
    here: Patient,
    north: Patient,
    erase: Erase,
    purge: Purging,
    kind: HoldKind,
) -> None:
    value = north.ref if kind is HoldKind.PATIENT_REF else north.accession_number
    hold = holds.place(sessions, kind, value, tenant=NORTH, reason="m-1", actor="operator")
    assert hold.tenant == NORTH
    with pytest.raises(LegalHoldError, match=str(hold.id)):
        erase(north.ref, tenant=NORTH)
    found = purge(review_comments="0 days")["review_comments"]
    assert (found.removed, found.held) == (1, 1)
    assert erase(here.ref).counts["jobs"] == 1
    assert is_whole(sessions, storage, north, NORTH)


def test_a_job_is_held_by_its_own_tenant_alone(sessions: Sessions, north: Patient) -> None:
    for job_id in (north.job_id, uuid.uuid4()):
        with pytest.raises(NotFoundError):
            holds.place(
                sessions,
                HoldKind.JOB,
                str(job_id),
                tenant=DEFAULT_TENANT,
                reason="m-1",
                actor="operator",
            )
    assert holds.list_holds(sessions) == []


def test_an_order_is_purged_whatever_jobs_of_another_tenant_repeat_its_number(
    sessions: Sessions, storage: S3Store, north: Patient, key_id: str, purge: Purging
) -> None:
    number = north.accession_number
    order, _ = place(sessions, NewOrder(number), tenant=DEFAULT_TENANT, key_id=key_id)
    assert purge(orders="0 days")["orders"].removed == 1
    with pytest.raises(NotFoundError):
        get_order(sessions, order.id, tenant=DEFAULT_TENANT)
    assert is_whole(sessions, storage, north, NORTH)


def test_what_a_restore_brought_back_is_erased_again_in_its_tenant(
    sessions: Sessions, storage: S3Store, here: Patient, north: Patient, erase: Erase
) -> None:
    """By the digest alone, as where the jobs were purged before the erasure."""
    known = Entry.of(erase("pn-nobody", tenant=NORTH))
    entry = known.model_copy(update={"ref_digest": digest_of(north.ref, SECRET)})
    again = reapply(sessions, storage, [entry], secret=SECRET, again_after=NO_TIME)
    assert (again.counts["jobs"], again.counts["orders"]) == (1, 1)
    with pytest.raises(JobErasedError):
        get_job(sessions, north.job_id, tenant=NORTH)
    assert is_whole(sessions, storage, here, DEFAULT_TENANT)


def test_a_ledger_from_before_there_were_tenants_is_of_default(here: Patient, erase: Erase) -> None:
    line = Entry.of(erase(here.ref)).model_dump_json().replace('"tenant":"default",', "")
    assert "tenant" not in line
    assert Entry.model_validate_json(line).tenant == DEFAULT_TENANT


def test_who_administers_names_the_tenant(
    client: FlaskClient, sessions: Sessions, storage: S3Store, here: Patient, north: Patient
) -> None:
    wanted = {"tenant": NORTH, "kind": "job", "value": str(north.job_id), "reason": "m-1"}
    placed = client.post("/v1/holds", json=wanted).json
    assert placed["tenant"] == NORTH
    asked = {"patient_ref": here.ref, "reason": "a_test"}
    refused = client.post("/v1/erasures", json={**asked, "tenant": NORTH})
    assert (refused.status_code, refused.json["code"]) == (409, "legal_hold")
    taken = client.post("/v1/erasures", json=asked)
    assert (taken.status_code, taken.json["tenant"]) == (202, DEFAULT_TENANT)
    assert carry_out_all(sessions, storage, again_after=NO_TIME) == 1
    assert is_whole(sessions, storage, north, NORTH)
    assert client.post("/v1/erasures", json={**asked, "tenant": "No Name"}).status_code == 422
