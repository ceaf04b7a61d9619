"""A PACS follows orders and jobs as workitems over HTTP (UPS-RS), and opens orders itself."""

from __future__ import annotations

import io
import json
import logging
import threading
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import text

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.db.models import Base, DicomSourceRow
from shared.db.session import Sessions
from shared.errors import UnsupportedPixelFormatError
from shared.jobs.claim import claim
from shared.jobs.complete import complete, give_up
from shared.orders.entities import NewOrder
from shared.orders.place import place
from tests import dicom
from tests.factories import smear_bytes
from tests.integration.jobs import a_result
from tests.integration.posting import authorised, post

URL = "/dicomweb/workitems"
TYPE = "application/dicom+json"
STUDY = "1.2.826.0.1.3680043.8.498.7"
TRANSACTION = {"TransactionUID": "2.25.17"}
SENTINEL = "ZZNAMEZZ"


@pytest.fixture
def client(settings, sessions, storage) -> FlaskClient:
    secret = {"pseudonym_secret": SecretStr(dicom.SECRET)}
    return authorised(create_app(settings.model_copy(update=secret)), sessions)


@pytest.fixture
def key_id(client: FlaskClient) -> str:
    """The id of the client's key."""
    return client.environ_base["HTTP_AUTHORIZATION"].split("_")[1]


@pytest.fixture
def order(client: FlaskClient) -> str:
    """The UID of a workitem that was created and that nobody works on."""
    return create(client)


def data_set(**changes: Any) -> Dataset:
    """A workitem as PS3.4, table CC.2.5-3, wants it; a change to None leaves it out."""
    request = Dataset()
    request.AccessionNumber = changes.pop("accession", "A-1")
    request.StudyInstanceUID = STUDY
    request.PlacerOrderNumberImagingServiceRequest = "P-1"
    step = Dataset()
    step.ScheduledProcedureStepPriority = "HIGH"
    step.ProcedureStepLabel = "Triage"
    step.ScheduledProcedureStepStartDateTime = "20260102030405+0700"
    step.InputReadinessState = "INCOMPLETE"
    step.ProcedureStepState = "SCHEDULED"
    step.PatientName = f"{SENTINEL}^Person"
    step.PatientID, step.IssuerOfPatientID = f"{SENTINEL}-1", "CLINIC"
    step.ReferencedRequestSequence = [request]
    for keyword, value in changes.items():
        if value is None:
            delattr(step, keyword)
        else:
            setattr(step, keyword, value)
    return step


def body(dataset: Dataset) -> dict[str, Any]:
    return {"data": json.dumps([dataset.to_json_dict()]), "content_type": TYPE}


def said(**values: Any) -> dict[str, Any]:
    dataset = Dataset()
    dataset.update(values)
    return body(dataset)


def create(client: FlaskClient, query: str = "", **changes: Any) -> str:
    answer = client.post(f"{URL}{query}", **body(data_set(**changes)))
    assert answer.status_code == 201, answer.data
    return answer.headers["Location"].rpartition("/")[2]


def read(client: FlaskClient, uid: str) -> Dataset:
    answer = client.get(f"{URL}/{uid}", headers={"Accept": TYPE})
    assert (answer.status_code, answer.content_type) == (200, TYPE)
    [document] = json.loads(answer.data)
    return Dataset.from_json(document)


def found(client: FlaskClient, **query: str) -> list[str]:
    answer = client.get(URL, query_string=query)
    assert answer.status_code in (200, 204), answer.data
    documents = json.loads(answer.data) if answer.status_code == 200 else []
    return [Dataset.from_json(one).SOPInstanceUID for one in documents]


def state(client: FlaskClient, uid: str, wanted: str, **more: Any):
    values = {"ProcedureStepState": wanted, **TRANSACTION, **more}
    kept = {name: value for name, value in values.items() if value is not None}
    return client.put(f"{URL}/{uid}/state", **said(**kept))


def warned(answer) -> str:
    service, _, words = answer.headers.get("Warning", "").partition(": ")
    assert not words or service == "299 http://localhost/dicomweb"
    return words


def uid_of(job_id: str) -> str:
    return f"2.25.{uuid.UUID(job_id).int}"


def a_job(client: FlaskClient, **fields: str) -> str:
    return post(client, smear_bytes(), **fields).json["id"]


def run(sessions: Sessions, job_id: str):
    """Have a worker begin with a job."""
    key = uuid.UUID(job_id)
    return claim(sessions, [key], worker="w", lease_seconds=60)[key]


def test_a_created_workitem_is_an_order_that_is_expected(client) -> None:
    uid = f"2.25.{uuid.uuid4().int}"
    answer = client.post(f"{URL}?workitem={uid}", **body(data_set()))
    assert (answer.status_code, answer.data) == (201, b"")
    address = f"http://localhost{URL}/{uid}"
    assert answer.headers["Location"] == answer.headers["Content-Location"] == address
    assert warned(answer) == "The Workitem was created with modifications."
    step = read(client, uid)
    assert step.SOPClassUID == "1.2.840.10008.5.1.4.34.6.1"
    assert (step.SOPInstanceUID, step.ProcedureStepState) == (uid, "SCHEDULED")
    assert (step.ScheduledProcedureStepPriority, step.InputReadinessState) == ("HIGH", "INCOMPLETE")
    assert step.ScheduledProcedureStepStartDateTime == "20260101200405.000000+0000"
    assert step.ScheduledWorkitemCodeSequence[0].CodeValue == "smear-triage"
    [request] = step.ReferencedRequestSequence
    assert (request.AccessionNumber, request.StudyInstanceUID) == ("A-1", STUDY)
    assert request.PlacerOrderNumberImagingServiceRequest == "P-1"
    assert list(step.UnifiedProcedureStepPerformedProcedureSequence) == []


def test_no_patient_comes_in_with_a_workitem(client, sessions, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    performer = Dataset()
    performer.HumanPerformerName = f"{SENTINEL}^Doctor"
    uid = create(
        client,
        PatientBirthDate="19700101",
        CommentsOnTheScheduledProcedureStep=SENTINEL,
        ProcedureStepLabel=SENTINEL,
        ScheduledHumanPerformersSequence=[performer],
    )
    client.post(f"{URL}/{uid}", **said(PatientID=f"{SENTINEL}-2", PatientName=SENTINEL))
    client.post(f"{URL}/{uid}/cancelrequest", **said(ReasonForCancellation=SENTINEL))
    client.get(URL, query_string={"PatientID": f"{SENTINEL}-2"})
    assert read(client, uid).PatientID.startswith("pn-")
    with sessions() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(text(f'SELECT t::text FROM "{table.name}" AS t')).scalars()
            assert not any(SENTINEL in row or "19700101" in row for row in rows), table.name
    assert not any(SENTINEL in f"{record.getMessage()} {vars(record)}" for record in caplog.records)


def test_a_patient_is_found_by_the_number_that_was_sent_and_by_its_pseudonym(client, order) -> None:
    create(client, accession="A-2", PatientID="other")
    known = read(client, order).PatientID
    assert found(client, PatientID=f"{SENTINEL}-1", IssuerOfPatientID="CLINIC") == [order]
    assert found(client, PatientID=known) == [order]
    assert found(client, PatientID=f"{SENTINEL}-1") == []


def test_a_workitem_is_created_once(client, order) -> None:
    again = client.post(f"{URL}?workitem={order}", **body(data_set(accession="A-9")))
    assert (again.status_code, again.json["code"]) == (409, "conflict")
    number = client.post(URL, **body(data_set(ScheduledProcedureStepPriority="LOW")))
    assert (number.status_code, number.json["code"]) == (409, "order_exists")
    job = a_job(client)
    assert client.post(f"{URL}?{uid_of(job)}", **body(data_set(accession="A-8"))).status_code == 409
    step = read(client, order)
    assert step.ReferencedRequestSequence[0].AccessionNumber == "A-1"
    assert step.ScheduledProcedureStepPriority == "HIGH"


def test_of_two_who_create_the_same_workitem_one_does(client) -> None:
    uid = f"2.25.{uuid.uuid4().int}"
    both, statuses = threading.Barrier(2), {}

    def send(priority: str) -> None:
        other = client.application.test_client()
        other.environ_base.update(client.environ_base)
        both.wait()
        sent = body(data_set(ScheduledProcedureStepPriority=priority))
        statuses[priority] = other.post(f"{URL}?workitem={uid}", **sent).status_code

    threads = [threading.Thread(target=send, args=[priority]) for priority in ("LOW", "MEDIUM")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses.values()) == [201, 409]
    assert statuses[read(client, uid).ScheduledProcedureStepPriority] == 201


def test_what_is_no_workitem_is_refused(client, order) -> None:
    for uid in ("1.2.3", "x", f"2.25.{uuid.uuid4().int}"):
        assert client.get(f"{URL}/{uid}").status_code == 404
        assert client.post(f"{URL}/{uid}", **said(PatientID="1")).status_code == 404
        assert state(client, uid, "IN PROGRESS").status_code == 404
        assert client.post(f"{URL}/{uid}/cancelrequest").status_code == 404
    refused = [
        client.post(f"{URL}?workitem=1.2.3", **body(data_set(accession="A-2"))),
        client.post(URL, **body(data_set(accession="A-2", ProcedureStepLabel=""))),
        client.post(URL, **body(data_set(accession="A\x01"))),
        client.post(URL, data="[" * 9999, content_type=TYPE),
        client.get(URL, query_string={"PatientName": "A*"}),
        state(client, order, "SCHEDULED"),
    ]
    assert {(one.status_code, one.json["code"]) for one in refused} == {(400, "bad_request")}


def test_an_order_follows_the_job_that_its_images_became(client, sessions, order) -> None:
    job = a_job(client, accession_number="A-1")
    assert found(client) == [order]
    step = read(client, order)
    assert (step.ProcedureStepState, step.InputReadinessState) == ("SCHEDULED", "READY")
    held = run(sessions, job)
    assert read(client, order).ProcedureStepState == "IN PROGRESS"
    with sessions.begin() as session:
        names = {"study_uid": STUDY, "series_uid": f"{STUDY}.1", "instance_uid": f"{STUDY}.1.1"}
        kind = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1.2", "frame": 1}
        session.add(DicomSourceRow(job_id=uuid.UUID(job), index=0, **names, **kind))
    assert complete(sessions, [(held, a_result(uuid.UUID(job)))])
    step = read(client, order)
    assert step.ProcedureStepState == "COMPLETED"
    [progress] = step.ProcedureStepProgressInformationSequence
    [contact] = progress.ProcedureStepCommunicationsURISequence
    assert contact.ContactURI == f"http://localhost/v1/jobs/{job}"
    assert progress.ProcedureStepProgress == 100
    assert step.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        f"{STUDY}.1.1"
    )
    assert read(client, uid_of(job)).ProcedureStepState == "COMPLETED"


def test_the_output_of_a_workitem_is_the_report_under_its_uids(client, sessions) -> None:
    study = generate_uid()
    sent = client.post(
        "/v1/jobs", data=dicom.dicom_bytes(study=study), content_type="application/dicom"
    )
    job = sent.json["id"]
    assert complete(sessions, [(run(sessions, job), a_result(uuid.UUID(job)))])
    [done] = read(client, uid_of(job)).UnifiedProcedureStepPerformedProcedureSequence
    [output] = done.OutputInformationSequence
    address = output.WADORSRetrievalSequence[0].RetrieveURL
    fetched = client.get(address, headers={"Accept": "application/dicom"})
    report = dcmread(io.BytesIO(fetched.data))
    [named] = output.ReferencedSOPSequence
    assert (output.StudyInstanceUID, output.SeriesInstanceUID) == (study, report.SeriesInstanceUID)
    assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (
        report.SOPClassUID,
        report.SOPInstanceUID,
    )


def test_a_job_that_failed_says_why_it_is_canceled(client, sessions) -> None:
    job = a_job(client)
    give_up(sessions, run(sessions, job), UnsupportedPixelFormatError(), max_attempts=3)
    step = read(client, uid_of(job))
    assert step.ProcedureStepState == "CANCELED"
    [progress] = step.ProcedureStepProgressInformationSequence
    [reason] = progress.ProcedureStepDiscontinuationReasonCodeSequence
    assert (reason.LongCodeValue, reason.CodingSchemeDesignator) == (
        "unsupported_pixel_format",
        "99HEMOTRIAGE",
    )


def test_workitems_are_searched_by_state_priority_number_and_start(client, sessions, order) -> None:
    late = {"ScheduledProcedureStepStartDateTime": "20260301"}
    later = create(client, accession="B_2", ScheduledProcedureStepPriority="LOW", **late)
    job = uid_of(a_job(client, accession_number="C%3", priority="urgent"))
    start, number = (
        "ScheduledProcedureStepStartDateTime",
        "ReferencedRequestSequence.AccessionNumber",
    )
    assert found(client) == [job, later, order]
    assert found(client, ScheduledProcedureStepPriority="MEDIUM") == [job]
    assert found(client, **{"00741200": "LOW"}) == [later]
    assert found(client, **{number: "B_2"}) == found(client, **{number: "*_?"}) == [later]
    assert found(client, **{"0040A370.00080050": "C%*"}) == [job]
    assert found(client, **{start: "20260101-20260201"}) == [order]
    assert (
        found(client, **{start: "202603"}) == found(client, **{start: "20260301-202604"}) == [later]
    )
    assert found(client, **{start: "20260302-", "ScheduledProcedureStepPriority": "LOW"}) == []
    assert found(client, SOPInstanceUID=f"{order},{job},1.2.3") == [job, order]
    assert found(client, SOPInstanceUID="1.2.3") == []
    assert found(client, ProcedureStepState="IN PROGRESS") == []
    run(sessions, str(uuid.UUID(int=int(job.removeprefix("2.25.")))))
    assert found(client, ProcedureStepState="IN PROGRESS") == [job]
    assert state(client, later, "IN PROGRESS").status_code == 200
    assert found(client, ProcedureStepState="IN PROGRESS") == [job, later]
    assert found(client, ProcedureStepState="SCHEDULED") == [order]
    client.post(f"{URL}/{order}/cancelrequest")
    assert found(client, ProcedureStepState="CANCELED") == [order]
    assert found(client, ProcedureStepState="COMPLETED") == []


def test_each_workitem_is_found_in_the_state_that_it_has(client, sessions, order) -> None:
    job = a_job(client, accession_number="A-1")
    for wanted in ("SCHEDULED", "IN PROGRESS", "COMPLETED"):
        if wanted == "IN PROGRESS":
            held = run(sessions, job)
        if wanted == "COMPLETED":
            assert complete(sessions, [(held, a_result(uuid.UUID(job)))])
        assert read(client, order).ProcedureStepState == wanted
        names = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
        in_state = {name: found(client, ProcedureStepState=name) for name in names}
        assert {name for name, uids in in_state.items() if uids} == {wanted}


def test_pages_follow_each_other_and_say_what_is_left(client) -> None:
    made = [create(client, accession=f"A-{number}") for number in range(3)]
    first = client.get(URL, query_string={"limit": "2"})
    assert warned(first) == "There are 1 additional results that can be requested"
    assert found(client, limit="2") == [made[2], made[1]]
    assert found(client, limit="2", offset="2") == [made[0]]
    last = client.get(URL, query_string={"limit": "2", "offset": "2"})
    assert "Warning" not in last.headers
    none = client.get(URL, query_string={"offset": "3"})
    assert (none.status_code, none.data) == (204, b"")
    assert client.get(URL, query_string={"limit": "0"}).status_code == 204


def test_what_a_search_cannot_do_it_says(client, order) -> None:
    fuzzy = client.get(URL, query_string={"fuzzymatching": "true", "includefield": "all"})
    assert fuzzy.status_code == 200
    assert warned(fuzzy) == (
        "The fuzzymatching parameter is not supported. Only literal matching has been performed."
    )
    assert "Warning" not in client.get(URL, query_string={"fuzzymatching": "false"}).headers
    assert found(client, PatientName="", WorklistLabel="*", PatientID="") == [order]


def test_an_order_says_something_else_after_an_update(client, order) -> None:
    before = read(client, order)
    changes = {"ScheduledProcedureStepPriority": "LOW", "PatientID": before.PatientID}
    answer = client.post(f"{URL}/{order}", **said(**changes))
    assert (answer.status_code, answer.data) == (200, b"")
    assert warned(answer) == "The Workitem was updated with modifications."
    after = read(client, order)
    assert after.ScheduledProcedureStepPriority == "LOW"
    assert after.PatientID == before.PatientID
    assert after.ReferencedRequestSequence == before.ReferencedRequestSequence
    assert (
        after.ScheduledProcedureStepModificationDateTime
        > before.ScheduledProcedureStepModificationDateTime
    )


def test_an_order_keeps_its_accession_number(client, order) -> None:
    request = Dataset()
    for number in ("A-2", "A-3"):
        request.AccessionNumber = number
        answer = client.post(f"{URL}/{order}", **said(ReferencedRequestSequence=[request]))
        assert answer.status_code == 400
        create(client, accession="A-3") if number == "A-2" else None
    assert read(client, order).ReferencedRequestSequence[0].AccessionNumber == "A-1"


def test_a_workitem_is_updated_only_by_who_may(client, sessions, order) -> None:
    change = said(ScheduledProcedureStepPriority="LOW")
    target = f"{URL}/{order}"
    unclaimed = client.post(f"{target}?transaction-uid=2.25.17", **change)
    assert unclaimed.status_code == 409
    assert warned(unclaimed) == "The target URI did not reference a claimed Workitem."
    assert state(client, order, "IN PROGRESS").status_code == 200
    held = client.post(f"{target}?transaction-uid=2.25.17", **change)
    assert held.status_code == 200
    assert warned(held) == "Requested optional Attributes are not supported."
    for query in ("", "?transaction-uid=2.25.18"):
        other = client.post(f"{target}{query}", **change)
        assert other.status_code == 400
        assert warned(other) == (
            "The submitted request is inconsistent with the current state of the Workitem."
        )
    assert state(client, order, "COMPLETED").status_code == 200
    assert client.post(f"{target}?transaction-uid=2.25.17", **change).status_code == 400
    job = a_job(client)
    ours = client.post(f"{URL}/{uid_of(job)}", **change)
    assert ours.status_code == 409
    assert read(client, order).ScheduledProcedureStepPriority == "HIGH"


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELED"])
def test_another_performer_claims_an_order_and_ends_it(client, order, end) -> None:
    assert state(client, order, "IN PROGRESS").status_code == 200
    claimed = read(client, order)
    assert claimed.ProcedureStepState == "IN PROGRESS"
    assert "TransactionUID" not in claimed
    twice = state(client, order, "IN PROGRESS")
    inconsistent = "The submitted request is inconsistent with the state of the UPS Instance."
    assert (twice.status_code, warned(twice)) == (409, inconsistent)
    wrong = state(client, order, end, TransactionUID="2.25.18")
    assert (wrong.status_code, warned(wrong)) == (400, "The Transaction UID is incorrect.")
    missing = state(client, order, end, TransactionUID=None)
    assert (missing.status_code, warned(missing)) == (400, "The Transaction UID is missing.")
    first = state(client, order, end)
    assert (first.status_code, first.data, warned(first)) == (200, b"", "")
    assert read(client, order).ProcedureStepState == end
    again = state(client, order, end)
    words = f"The UPS is already in the requested state of {end}."
    assert (again.status_code, warned(again)) == (200, words)
    for other in {"IN PROGRESS", "COMPLETED", "CANCELED"} - {end}:
        assert state(client, order, other).status_code == 409


def test_what_nobody_claimed_nobody_ends(client, order) -> None:
    for wanted in ("COMPLETED", "CANCELED"):
        assert state(client, order, wanted).status_code == 409
    assert state(client, order, "IN PROGRESS", TransactionUID="no uid").status_code == 400
    assert read(client, order).ProcedureStepState == "SCHEDULED"


def test_a_job_is_no_other_performers(client, sessions, order) -> None:
    alone, ordered = a_job(client), a_job(client, accession_number="A-1")
    for uid in (uid_of(alone), uid_of(ordered), order):
        for wanted in ("IN PROGRESS", "COMPLETED", "CANCELED"):
            assert state(client, uid, wanted).status_code == 409
    held = run(sessions, alone)
    assert state(client, uid_of(alone), "CANCELED").status_code == 409
    assert complete(sessions, [(held, a_result(uuid.UUID(alone)))])
    done = state(client, uid_of(alone), "COMPLETED")
    words = "The UPS is already in the requested state of COMPLETED."
    assert (done.status_code, warned(done)) == (200, words)


def test_an_expected_order_is_cancelled_at_once(client, order) -> None:
    answer = client.post(f"{URL}/{order}/cancelrequest")
    assert (answer.status_code, answer.data, warned(answer)) == (202, b"", "")
    assert read(client, order).ProcedureStepState == "CANCELED"
    again = client.post(f"{URL}/{order}/cancelrequest", **said(ContactDisplayName="x"))
    words = "The UPS is already in the requested state of CANCELED."
    assert (again.status_code, warned(again)) == (202, words)


def test_a_queued_job_is_cancelled_with_its_order(client, order) -> None:
    ordered, alone = a_job(client, accession_number="A-1"), a_job(client)
    for uid, job in ((order, ordered), (uid_of(alone), alone)):
        assert client.post(f"{URL}/{uid}/cancelrequest").status_code == 202
        assert client.get(f"/v1/jobs/{job}").json["status"] == "cancelled"
        assert read(client, uid).ProcedureStepState == "CANCELED"


def test_work_that_goes_on_or_is_done_is_not_cancelled(client, sessions, order) -> None:
    job = a_job(client)
    held = run(sessions, job)
    running = client.post(f"{URL}/{uid_of(job)}/cancelrequest")
    assert (running.status_code, warned(running)) == (409, "Performer chooses not to cancel.")
    assert complete(sessions, [(held, a_result(uuid.UUID(job)))])
    done = client.post(f"{URL}/{uid_of(job)}/cancelrequest")
    assert (done.status_code, warned(done)) == (409, "The UPS is already COMPLETED.")
    state(client, order, "IN PROGRESS")
    claimed = client.post(f"{URL}/{order}/cancelrequest")
    assert (claimed.status_code, warned(claimed)) == (409, "The performer cannot be contacted.")


def test_a_workitem_that_was_ended_elsewhere_stays_so_when_images_come(client, order) -> None:
    client.post(f"{URL}/{order}/cancelrequest")
    job = uid_of(a_job(client, accession_number="A-1"))
    assert read(client, order).ProcedureStepState == "CANCELED"
    assert found(client) == [job, order]


def test_a_job_that_was_taken_back_leaves_its_order_expected(client, order) -> None:
    job = a_job(client, accession_number="A-1")
    client.delete(f"/v1/jobs/{job}")
    assert read(client, order).ProcedureStepState == "SCHEDULED"
    assert read(client, uid_of(job)).ProcedureStepState == "CANCELED"
    assert found(client) == [order]


def test_an_order_that_came_another_way_is_a_workitem_too(client, sessions, key_id) -> None:
    new = NewOrder("L-1", filler_number="F-1", procedure_code="SMEAR", procedure_system="L")
    placed, _ = place(sessions, new, key_id=key_id)
    step = read(client, f"2.25.{placed.id.int}")
    [request] = step.ReferencedRequestSequence
    assert request.FillerOrderNumberImagingServiceRequest == "F-1"
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "SMEAR"
    assert step.PatientID is None or step.PatientID == ""


def test_only_dicom_json_is_spoken(client, order) -> None:
    for address in (URL, f"{URL}/{order}"):
        assert client.get(address, headers={"Accept": "application/dicom+xml"}).status_code == 406
        assert client.get(f"{address}?accept=text/html").status_code == 406
        assert client.get(address, headers={"Accept": "*/*"}).status_code == 200
    sent = {"data": body(data_set())["data"], "content_type": "application/json"}
    assert client.post(URL, **sent).status_code == 415
    assert client.post(f"{URL}/{order}", **sent).status_code == 415
    assert client.put(f"{URL}/{order}/state", **sent).status_code == 415
    assert client.post(f"{URL}/{order}/cancelrequest", **sent).status_code == 415


def test_each_call_needs_its_scope(client, sessions, order) -> None:
    calls = [
        ("GET", URL, Scope.READ),
        ("GET", f"{URL}/{order}", Scope.READ),
        ("POST", URL, Scope.SUBMIT),
        ("POST", f"{URL}/{order}", Scope.SUBMIT),
        ("PUT", f"{URL}/{order}/state", Scope.SUBMIT),
        ("POST", f"{URL}/{order}/cancelrequest", Scope.SUBMIT),
    ]
    for method, address, scope in calls:
        _, key = create_key(sessions, "other", [one for one in Scope if one is not scope])
        headers = {"Authorization": f"Bearer {key}"}
        assert client.open(address, method=method, headers=headers).status_code == 403
    assert read(client, order).ProcedureStepState == "SCHEDULED"
