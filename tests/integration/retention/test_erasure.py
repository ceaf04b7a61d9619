"""A patient is erased by one command, and nothing of the patient is left anywhere."""

from __future__ import annotations

import io
import uuid

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, func, select

from services.cli.erase import command
from shared.audit.queries import AuditFilter, list_events
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import DatasetRow, JobRow, RemovedJobRow
from shared.db.session import Sessions
from shared.errors import NotFoundError
from shared.interop.dicom.deidentify import pseudonym
from shared.jobs.queries import get_job
from shared.local.servers import LocalServers
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.orders.queries import get_order
from shared.retention import holds
from shared.retention.erase import carry_out_all
from shared.retention.erasures import ErasureStatus, get_erasure, request_erasure
from shared.retention.holds import HoldKind, LegalHoldError
from shared.retention.objects import remove_due
from shared.retention.removed import JobErasedError
from shared.storage import ObjectMissingError, StorageUnavailableError, training_image_key
from shared.storage.s3 import S3Store
from tests.integration.jobs import finish, post, take
from tests.integration.retention.conftest import NO_TIME, SECRET, Erase
from tests.integration.retention.patients import (
    PNG_SHA256,
    a_patient,
    a_result_of,
    hold_on,
    objects_of,
    tables_that_tell,
)
from tests.trainings import a_ready_dataset

LEFT = {"audit_events", "removed_jobs", "erasures", "object_removals"}
"""The tables that keep the ids of what was erased."""


def test_nothing_of_an_erased_patient_is_in_any_table_or_object(
    database: Engine, sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id, "7")
    other = a_patient(sessions, storage, key_id, "8")
    assert all(tables_that_tell(database, word) for word in gone.words)
    assert len(objects_of(storage, gone.job_id)) == 2

    erasure = erase(gone.ref)
    assert erasure.status is ErasureStatus.DONE
    assert erasure.counts == {
        **dict.fromkeys(("jobs", "job_images", "results", "reviews", "orders"), 1),
        **dict.fromkeys(("dicom_sources", "shadow_results"), 1),
        **{"explanations": 2, "webhooks": 2},
    }
    assert [tables_that_tell(database, word) for word in gone.words] == [set()] * 5
    assert tables_that_tell(database, str(gone.job_id)) <= LEFT
    assert tables_that_tell(database, str(gone.order_id)) <= LEFT
    assert objects_of(storage, gone.job_id) == []

    assert get_job(sessions, other.job_id, tenant=DEFAULT_TENANT).result is not None
    assert len(objects_of(storage, other.job_id)) == 2
    assert all(tables_that_tell(database, word) for word in other.words)


def test_the_command_reads_a_patients_number_from_standard_input(
    sessions: Sessions, storage: S3Store, key_id: str, servers: LocalServers
) -> None:
    named, other = (pseudonym(SECRET, number, "HOSPITAL") for number in ("4711", "4712"))
    job = post(sessions, storage, key_id, patient_ref=named).job
    kept = post(sessions, storage, key_id, patient_ref=other).job
    secret = {"HEMOTRIAGE_PSEUDONYM_SECRET": SECRET.get_secret_value()}
    runner = CliRunner(env={**servers.environment(), **secret})
    asked = ["--patient-id", "-", "--issuer", "HOSPITAL"]

    nothing = runner.invoke(command, asked, input="\n")
    assert (nothing.exit_code, "No number was given." in nothing.output) == (2, True)
    done = runner.invoke(command, asked, input="4711\n")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("erased ")
    with pytest.raises(JobErasedError):
        get_job(sessions, job.id, tenant=DEFAULT_TENANT)
    assert get_job(sessions, kept.id, tenant=DEFAULT_TENANT).id == kept.id


def test_an_erasure_is_in_the_audit_trail_by_ids_alone(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    erasure = erase(gone.ref)
    events = list_events(sessions, AuditFilter(actor="operator"), limit=2).events
    assert [event.action for event in events] == ["erasure.done", "erasure.requested"]
    details = events[0].details
    assert (details["erasure"], details["reason"]) == (str(erasure.id), "a_test")
    assert (details["jobs"], details["orders"]) == ([str(gone.job_id)], [str(gone.order_id)])
    assert details["counts"] == erasure.counts
    assert not any(word in str(event) for event in events for word in gone.words)


def test_who_asks_for_an_erased_job_is_told_so(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    erase(gone.ref)
    with pytest.raises(JobErasedError) as told:
        get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT)
    assert (told.value.code, told.value.http_status) == ("erased", 410)
    with pytest.raises(NotFoundError):
        get_order(sessions, gone.order_id, tenant=DEFAULT_TENANT)
    with pytest.raises(NotFoundError):
        get_job(sessions, uuid.uuid4(), tenant=DEFAULT_TENANT)


def test_a_job_and_its_order_vouch_for_one_another(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    """Whichever of both carries the pseudonym; another pseudonym is another patient."""
    nameless = post(sessions, storage, key_id, accession_number="A-1").job
    place(
        sessions,
        NewOrder(accession_number="A-1", patient_ref="pn-1"),
        tenant=DEFAULT_TENANT,
        key_id=key_id,
    )
    post(sessions, storage, key_id, accession_number="A-2", patient_ref="pn-1")
    order, _ = place(
        sessions, NewOrder(accession_number="A-2"), tenant=DEFAULT_TENANT, key_id=key_id
    )
    others = post(sessions, storage, key_id, accession_number="A-3", patient_ref="pn-2").job
    place(
        sessions,
        NewOrder(accession_number="A-3", patient_ref="pn-1"),
        tenant=DEFAULT_TENANT,
        key_id=key_id,
    )
    erasure = erase("pn-1")
    assert (erasure.counts["jobs"], erasure.counts["orders"]) == (2, 3)
    assert nameless.id in erasure.job_ids
    assert order.id in erasure.order_ids
    assert get_job(sessions, others.id, tenant=DEFAULT_TENANT).patient_ref == "pn-2"


def test_jobs_of_one_accession_number_vouch_for_one_another_where_nothing_else_does(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    nameless = post(sessions, storage, key_id, accession_number="A-1").job
    named = post(sessions, storage, key_id, accession_number="A-1", patient_ref="pn-1").job
    of_others = post(sessions, storage, key_id, accession_number="A-1", patient_ref="pn-2").job
    alone = post(sessions, storage, key_id, accession_number="A-2").job
    assert set(erase("pn-1").job_ids) == {nameless.id, named.id}
    for left in (of_others, alone):
        assert get_job(sessions, left.id, tenant=DEFAULT_TENANT).id == left.id


def test_jobs_under_way_go_and_their_worker_finds_its_claim_lost(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    waiting = post(sessions, storage, key_id, patient_ref="pn-1").job
    running = post(sessions, storage, key_id, patient_ref="pn-1").job
    held = take(sessions, running)
    assert held is not None
    assert set(erase("pn-1").job_ids) == {waiting.id, running.id}
    assert not finish(sessions, held)
    assert take(sessions, waiting) is None


def test_what_a_worker_stores_late_is_removed_at_the_second_look(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    erase(gone.ref)
    late = f"jobs/{gone.job_id}/explanations/0/lime-{PNG_SHA256[:16]}.png"
    storage.put(late, io.BytesIO(b"png"), 3, "image/png")
    assert remove_due(sessions, storage) == 2, "those of the job, and its image in data sets"
    assert objects_of(storage, gone.job_id) == []
    assert remove_due(sessions, storage) == 0


def test_an_idempotency_key_is_erased_too(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    first = post(sessions, storage, key_id, patient_ref="pn-1", idempotency_key="k")
    erase("pn-1")
    again = post(sessions, storage, key_id, patient_ref="pn-1", idempotency_key="k")
    assert again.created
    assert again.job.id != first.job.id


def test_of_an_unknown_patient_nothing_is_erased_and_that_is_said(
    sessions: Sessions, erase: Erase
) -> None:
    erasure = erase("pn-nobody")
    assert (erasure.status, erasure.counts) == (ErasureStatus.DONE, {})


def test_a_held_patient_is_not_erased_at_all(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    another = a_result_of(sessions, storage, key_id, patient_ref=gone.ref)
    hold = holds.place(
        sessions,
        HoldKind.JOB,
        str(another.id),
        tenant=DEFAULT_TENANT,
        reason="m-1",
        actor="operator",
    )
    with pytest.raises(LegalHoldError, match=str(hold.id)):
        erase(gone.ref)
    assert get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).result is not None
    assert len(objects_of(storage, gone.job_id)) == 2
    holds.release(sessions, hold.id, actor="operator")
    assert erase(gone.ref).counts["jobs"] == 2


def test_a_hold_that_comes_between_request_and_erasure_wins(
    sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    gone = a_patient(sessions, storage, key_id)
    asked = request_erasure(
        sessions, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=SECRET
    )
    hold = hold_on(sessions, gone, HoldKind.ACCESSION_NUMBER)
    assert carry_out_all(sessions, storage, again_after=NO_TIME) == 1
    refused = get_erasure(sessions, asked.id)
    assert (refused.status, refused.hold_ids) == (ErasureStatus.REFUSED, (hold.id,))
    assert get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).patient_ref == gone.ref


@pytest.mark.parametrize("kind", [HoldKind.PATIENT_REF, HoldKind.ACCESSION_NUMBER])
def test_a_released_hold_names_the_erased_patient_no_more(
    database: Engine,
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    erase: Erase,
    *,
    kind: HoldKind,
) -> None:
    gone = a_patient(sessions, storage, key_id)
    hold = hold_on(sessions, gone, kind)
    holds.release(sessions, hold.id, actor="operator")
    erase(gone.ref)
    assert not any(tables_that_tell(database, word) for word in gone.words)
    (left,) = holds.list_holds(sessions, released=True)
    assert (left.id, left.value, left.released_by) == (hold.id, "", "operator")


def test_without_the_store_nothing_is_erased_and_later_all_is(
    sessions: Sessions, storage: S3Store, settings, key_id: str
) -> None:
    gone = a_patient(sessions, storage, key_id)
    request_erasure(
        sessions, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    away = S3Store(settings.model_copy(update={"s3_endpoint": "127.0.0.1:9"}), pool_size=1)
    with pytest.raises(StorageUnavailableError):
        carry_out_all(sessions, away, again_after=NO_TIME)
    assert get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).result is not None
    assert carry_out_all(sessions, storage, again_after=NO_TIME) == 1
    assert objects_of(storage, gone.job_id) == []


def test_data_sets_with_an_erased_image_are_withdrawn_and_no_others(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    erased, kept = get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).images[0].sha256, "9" * 64
    for sha256 in (erased, kept):
        storage.put(training_image_key(sha256), io.BytesIO(b"png"), 3, "image/png")
    # Groups are called by an image: the erased one may have lent its name.
    both = [{"label": "Pro", "sha256": one, "group": erased} for one in (erased, kept)]
    overlaps = [{"first": erased, "second": kept, "share": 0.5}]
    record = {"version": "b" * 64, "images": both, "overlaps": overlaps, "left_out": []}
    faults = [{"sha256": erased, "label": "Pro", "code": "label_conflict", "left_out": True}]
    with_it = a_ready_dataset(sessions, record, faults=faults)
    without = a_ready_dataset(sessions, {"version": "c" * 64, "images": both[1:]})
    assert erase(gone.ref).dataset_ids == (with_it,)
    with sessions() as session:
        row = session.get(DatasetRow, with_it)
        assert row is not None
        assert row.withdrawn_at is not None
        assert row.version == "b" * 64
        assert row.record["images"] == [{"label": "Pro", "sha256": kept, "group": kept}]
        assert (row.record["overlaps"], row.faults) == ([], [])
        assert session.get_one(DatasetRow, without).withdrawn_at is None
    with pytest.raises(ObjectMissingError):
        storage.get(training_image_key(erased))
    assert storage.get(training_image_key(kept)) == b"png"


def test_tombstones_hold_an_id_and_nothing_else(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    erasure = erase(gone.ref)
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0
        (row,) = session.scalars(select(RemovedJobRow))
        assert (row.job_id, row.why, row.erasure_id) == (gone.job_id, "erased", erasure.id)
