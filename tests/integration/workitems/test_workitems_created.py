"""A PACS opens orders as workitems over HTTP (UPS-RS), and what is no workitem is refused."""

from __future__ import annotations

import logging
import threading
import uuid

from pydicom.dataset import Dataset
from sqlalchemy import text

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import Base
from shared.orders.entities import NewOrder
from shared.orders.place import place
from tests.canaries import BIRTH_DATE
from tests.integration.workitems.steps import (
    SENTINEL,
    STUDY,
    TYPE,
    URL,
    a_job,
    body,
    create,
    data_set,
    found,
    read,
    said,
    state,
    uid_of,
    warned,
)


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
        PatientBirthDate=BIRTH_DATE,
        CommentsOnTheScheduledProcedureStep=SENTINEL,
        ProcedureStepLabel=SENTINEL,
        ScheduledHumanPerformersSequence=[performer],
    )
    changes = said(PatientID=f"{SENTINEL}-2", PatientName=SENTINEL)
    assert client.post(f"{URL}/{uid}", **changes).status_code == 200
    assert found(client, PatientID=f"{SENTINEL}-2") == [uid]
    cancel = client.post(f"{URL}/{uid}/cancelrequest", **said(ReasonForCancellation=SENTINEL))
    assert cancel.status_code == 202
    assert read(client, uid).PatientID.startswith("pn-")
    with sessions() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(text(f'SELECT t::text FROM "{table.name}" AS t')).scalars()
            assert not any(SENTINEL in row or BIRTH_DATE in row for row in rows), table.name
    assert not any(SENTINEL in f"{record.getMessage()} {vars(record)}" for record in caplog.records)


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


def test_an_order_that_came_another_way_is_a_workitem_too(client, sessions, key_id) -> None:
    new = NewOrder("L-1", filler_number="F-1", procedure_code="SMEAR", procedure_system="L")
    placed, _ = place(sessions, new, key_id=key_id, tenant=DEFAULT_TENANT)
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
