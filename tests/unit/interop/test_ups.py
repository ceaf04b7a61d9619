"""Workitems are read and written as DICOM has them, without any server."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from shared.errors import BadRequestError, NotFoundError
from shared.interop import codes
from shared.interop.dicom.ups import workitem_json
from shared.interop.dicom.ups_names import chosen_id, workitem_id, workitem_uid
from shared.interop.dicom.ups_read import (
    read_changes,
    read_creation,
    read_dataset,
    read_state_change,
)
from shared.interop.dicom.ups_search import MAX_RESULTS, read_search
from shared.interop.dicom.ups_times import moment, span, written
from shared.jobs.entities import JobFailure
from shared.jobs.states import Priority, Status
from shared.orders.entities import Order
from shared.orders.states import OrderState
from shared.orders.workitem_entities import (
    OF_JOBS,
    OF_ORDERS,
    Input,
    Workitem,
    WorkitemState,
)
from tests.dicom import settings_without_servers
from tests.unit.interop.finished import AT, finished
from tests.unit.interop.sources import MICROSCOPIC

SETTINGS = settings_without_servers()
ORDER = Order(
    id=uuid.UUID(int=7),
    state=OrderState.EXPECTED,
    api_key_id="k",
    accession_number="A-17",
    priority=Priority.STAT,
    specimen_id="S-3",
    patient_ref="pn-abc",
    study_uid="1.2.3",
    procedure_code="SMEAR",
    procedure_system="L",
    placer="LIS",
    placer_number="P-1",
    filler_number="F-1",
    scheduled_at=AT,
    performer=None,
    created_at=AT,
    updated_at=AT,
    job_id=None,
    job_status=None,
)
# PS3.4, table CC.2.5-3: types 1 and 2 of a scheduled step.
VALUED = {
    *("SOPClassUID", "SOPInstanceUID", "ScheduledProcedureStepPriority", "ProcedureStepLabel"),
    *("ScheduledProcedureStepModificationDateTime", "WorklistLabel", "InputReadinessState"),
    *("ScheduledProcedureStepStartDateTime", "ProcedureStepState"),
}
PRESENT = {
    *("ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence"),
    *("ScheduledStationClassCodeSequence", "ScheduledStationGeographicLocationCodeSequence"),
    *("ScheduledWorkitemCodeSequence", "CommentsOnTheScheduledProcedureStep"),
    *("InputInformationSequence", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("OtherPatientIDsSequence", "AdmissionID", "IssuerOfAdmissionIDSequence"),
    *("AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence"),
    *("ReferencedRequestSequence", "ProcedureStepProgressInformationSequence"),
    "UnifiedProcedureStepPerformedProcedureSequence",
}


def written_step(workitem: Workitem) -> Dataset:
    document = workitem_json(workitem, base_url="http://host", station="HEMO")
    return Dataset.from_json(json.loads(json.dumps(document)))


def asked(**values: Any) -> Dataset:
    """A data set that may be created; a change to None leaves an attribute out."""
    request = Dataset()
    request.AccessionNumber = values.pop("accession", "A-1")
    known = {
        "ScheduledProcedureStepPriority": "MEDIUM",
        "ScheduledProcedureStepStartDateTime": "20260102",
        "ProcedureStepLabel": "Triage",
        "InputReadinessState": "INCOMPLETE",
        "ProcedureStepState": "SCHEDULED",
        "ReferencedRequestSequence": [request],
    }
    step = Dataset()
    step.update({name: value for name, value in (known | values).items() if value is not None})
    return read_dataset(json.dumps(step.to_json_dict()).encode())


def searched(*parameters: tuple[str, str]) -> Any:
    return read_search(parameters, SETTINGS)


@pytest.mark.parametrize("number", [0, 1, (1 << 128) - 1, 0x0123456789ABCDEF << 60])
def test_a_uid_leads_back_to_its_uuid(number) -> None:
    assert workitem_id(workitem_uid(uuid.UUID(int=number))).int == number


@pytest.mark.parametrize(
    "uid", ["", "2.25.", "1.2.3", "2.25.1e3", "2.25.-1", "2.25.007", "2.25.١", f"2.25.{1 << 128}"]
)
def test_a_uid_of_another_form_is_none_of_a_workitem(uid) -> None:
    with pytest.raises(NotFoundError):
        workitem_id(uid)
    with pytest.raises(BadRequestError):
        chosen_id(uid)


def test_every_state_of_orders_and_jobs_is_one_of_workitems() -> None:
    assert set(OF_ORDERS) == set(OrderState)
    assert set(OF_JOBS) == set(Status)
    final = {status for status, state in OF_JOBS.items() if state.is_final}
    assert final == {status for status in Status if status.is_final}


@pytest.mark.parametrize(
    "workitem",
    [Workitem(ORDER, None), Workitem(ORDER, finished()), Workitem(finished(), finished())],
    ids=["order", "order with a job", "job"],
)
def test_a_step_has_what_the_standard_wants(workitem) -> None:
    step = written_step(workitem)
    keywords = {element.keyword for element in step}
    assert keywords >= VALUED | PRESENT
    assert all(step[keyword].value for keyword in VALUED)
    assert "TransactionUID" not in step
    assert step.ScheduledWorkitemCodeSequence[0].CodeValue == codes.TRIAGE.code
    assert step.ScheduledStationNameCodeSequence[0].CodeValue == "HEMO"


def test_a_step_says_what_its_order_says() -> None:
    step = written_step(Workitem(ORDER, None))
    assert step.SOPInstanceUID == "2.25.7"
    assert (step.ScheduledProcedureStepPriority, step.PatientID) == ("HIGH", "pn-abc")
    assert step.ScheduledProcedureStepStartDateTime == written(AT)
    [request] = step.ReferencedRequestSequence
    assert (request.AccessionNumber, request.StudyInstanceUID) == ("A-17", "1.2.3")
    numbers = ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest")
    assert [request[name].value for name in numbers] == ["P-1", "F-1"]
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "SMEAR"
    [specimen] = step.ScheduledSpecimenSequence
    assert specimen.SpecimenDescriptionSequence[0].SpecimenIdentifier == "S-3"


def test_the_inputs_of_a_step_are_the_instances_by_their_series() -> None:
    inputs = tuple(
        Input("1.2", f"1.2.{series}", f"1.2.{series}.{instance}", MICROSCOPIC)
        for series, instance in ((1, 1), (1, 2), (2, 1))
    )
    first, second = written_step(Workitem(finished(), finished(), inputs)).InputInformationSequence
    assert (first.SeriesInstanceUID, second.SeriesInstanceUID) == ("1.2.1", "1.2.2")
    named = [one.ReferencedSOPInstanceUID for one in first.ReferencedSOPSequence]
    assert named == ["1.2.1.1", "1.2.1.2"]
    assert first.TypeOfInstances == "DICOM"


def test_what_was_performed_is_told_once_it_has_begun() -> None:
    waiting = finished(status=Status.QUEUED, started_at=None, finished_at=None, result=None)
    step = written_step(Workitem(waiting, waiting))
    assert list(step.UnifiedProcedureStepPerformedProcedureSequence) == []
    assert step.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 0
    [done] = written_step(Workitem(finished(), finished())).get(
        "UnifiedProcedureStepPerformedProcedureSequence"
    )
    assert done.PerformedProcedureStepEndDateTime == written(AT)
    assert done.PerformedProcedureStepDescription == "ensemble@1"
    # No image came as DICOM: there is no report in DICOM either.
    assert list(done.OutputInformationSequence) == []


@pytest.mark.parametrize(
    ("code", "attribute"), [("corrupt_image", "CodeValue"), ("x" * 17, "LongCodeValue")]
)
def test_the_reason_of_a_failure_is_a_local_code(code, attribute) -> None:
    job = finished(status=Status.FAILED, error=JobFailure(code, None), result=None)
    [progress] = written_step(Workitem(job, job)).ProcedureStepProgressInformationSequence
    [reason] = progress.ProcedureStepDiscontinuationReasonCodeSequence
    assert (reason[attribute].value, reason.CodingSchemeDesignator) == (code, codes.LOCAL.dicom)
    assert progress.ProcedureStepCancellationDateTime == written(AT)


def test_an_identifier_that_does_not_fit_is_left_out_and_never_cut() -> None:
    long = replace(ORDER, accession_number="A" * 17, placer_number="P\\1", patient_ref="p" * 65)
    step = written_step(Workitem(long, None))
    [request] = step.ReferencedRequestSequence
    assert not request.AccessionNumber
    assert not request.PlacerOrderNumberImagingServiceRequest
    assert not step.PatientID


def test_of_a_data_set_an_order_takes_what_it_has_and_a_pseudonym() -> None:
    procedure, specimen = Dataset(), Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator = "5909-7", "LN"
    specimen.ContainerIdentifier = "SLIDE-1"
    request = Dataset()
    request.AccessionNumber = "A-1 "
    request.RequestedProcedureCodeSequence = [procedure]
    step = asked(
        ReferencedRequestSequence=[request], ScheduledSpecimenSequence=[specimen], PatientID="17"
    )
    said = read_creation(step, SETTINGS)
    patient = said.pop("patient_ref")
    assert patient.startswith("pn-")
    assert said == {
        "accession_number": "A-1",
        "procedure_code": "5909-7",
        "procedure_system": "LN",
        "specimen_id": "SLIDE-1",
        "priority": Priority.URGENT,
        "scheduled_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    }


def test_what_names_a_patient_is_not_even_read() -> None:
    named = ("PatientName", "PatientBirthDate", "OtherPatientNames", "IssuerOfAdmissionID")
    step = asked(**dict.fromkeys(named, "x"))
    assert not {element.keyword for element in step} & set(named)


@pytest.mark.parametrize(
    "changes",
    [
        {"ScheduledProcedureStepPriority": None},
        {"ScheduledProcedureStepPriority": "SOON"},
        {"ScheduledProcedureStepStartDateTime": None},
        {"ScheduledProcedureStepStartDateTime": "tomorrow"},
        {"ProcedureStepLabel": ""},
        {"InputReadinessState": None},
        {"ProcedureStepState": None},
        {"ProcedureStepState": "IN PROGRESS"},
        {"ReferencedRequestSequence": None},
        {"ReferencedRequestSequence": []},
        {"accession": ""},
        {"accession": ["A-1", "A-2"]},
        {"PatientID": "\ud800"},
        {"PatientID": "1\x002"},
        {"TransactionUID": "1.2"},
        {"SOPClassUID": "1.2"},
    ],
)
def test_a_workitem_that_lacks_what_it_needs_is_no_workitem(changes) -> None:
    with pytest.raises(BadRequestError):
        read_creation(asked(**changes), SETTINGS)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b"7", b"[1]", b"[{},{}]", b"\xff", b"[" * 99_999),
        *(b'{"00741000":7}', b'{"00741000":{"vr":"CS","Value":7}}', b'{"00741000":{}}'),
        b'{"0040A370":{"vr":"SQ","Value":[7]}}',
        b'{"00741000":{"vr":"SQ","Value":[{}]}}',
        b'{"00741000":{"vr":"OB","InlineBinary":"Q09NUExFVEVE"}}',
    ],
)
def test_a_body_that_is_no_data_set_is_a_bad_request(body) -> None:
    with pytest.raises(BadRequestError):
        read_state_change(read_dataset(body))


@pytest.mark.parametrize("value", [{"vr": "US", "Value": [5]}, {"vr": "FD", "Value": [5.5]}])
def test_a_number_in_place_of_a_sequence_is_a_bad_request(value) -> None:
    body = json.dumps({"0040A370": value}).encode()
    with pytest.raises(BadRequestError):
        read_changes(read_dataset(body), SETTINGS)


@pytest.mark.parametrize("state", ["SCHEDULED", "DONE", ""])
def test_a_performer_asks_for_no_other_state(state) -> None:
    with pytest.raises(BadRequestError):
        read_state_change(asked(ProcedureStepState=state))


def test_a_search_without_conditions_finds_all() -> None:
    search = searched(
        ("PatientID", ""), ("WorklistLabel", "*"), ("includefield", "all"), ("includefield", "")
    )
    assert search == searched()
    assert (search.limit, search.offset, search.warnings) == (MAX_RESULTS, 0, ())


def test_attributes_are_named_by_keyword_or_tag() -> None:
    by_tag = searched(("00741000", "IN PROGRESS"), ("0040A370.00080050", "A-1"))
    by_keyword = searched(
        ("ProcedureStepState", "IN PROGRESS"), ("ReferencedRequestSequence.AccessionNumber", "A-1")
    )
    assert by_tag == by_keyword
    assert by_tag.criteria.state is WorkitemState.IN_PROGRESS


@pytest.mark.parametrize(
    "parameters",
    [
        [("PatientName", "A*")],
        [("WorklistLabel", "x")],
        [("nothing", "1")],
        [("00000001", "1")],
        [("ReferencedRequestSequence.", "1")],
        [("ProcedureStepState", "DONE")],
        [("ScheduledProcedureStepPriority", "stat")],
        [("ScheduledProcedureStepStartDateTime", "-")],
        [("limit", "-1")],
        [("offset", "9" * 30)],
        [("fuzzymatching", "maybe")],
        [("includefield", "nothing")],
        [("PatientID", "a"), ("00100020", "b")],
        [("PatientID", "a\0")],
    ],
)
def test_a_search_that_cannot_be_made_is_refused(parameters) -> None:
    with pytest.raises(BadRequestError):
        searched(*parameters)


def at(*parts: int, hours: int = 0) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.timezone(dt.timedelta(hours=hours)))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", at(2026, 1, 1), at(2027, 1, 1)),
        ("202602", at(2026, 2, 1), at(2026, 3, 1)),
        ("202612", at(2026, 12, 1), at(2027, 1, 1)),
        ("20260228", at(2026, 2, 28), at(2026, 3, 1)),
        ("2026010203", at(2026, 1, 2, 3), at(2026, 1, 2, 4)),
        ("20260102030405", at(2026, 1, 2, 3, 4, 5), at(2026, 1, 2, 3, 4, 6)),
        ("20260102030405.25", at(2026, 1, 2, 3, 4, 5, 250_000), at(2026, 1, 2, 3, 4, 5, 260_000)),
        ("20260102-0500", at(2026, 1, 2, hours=-5), at(2026, 1, 3, hours=-5)),
        ("20260102-", at(2026, 1, 2), None),
        ("-20260102", None, at(2026, 1, 3)),
        ("2026-2027", at(2026, 1, 1), at(2028, 1, 1)),
        ("20260101+0700-20260102-0500", at(2026, 1, 1, hours=7), at(2026, 1, 3, hours=-5)),
    ],
)
def test_a_time_that_is_cut_off_stands_for_all_that_it_leaves_open(text, first, last) -> None:
    assert span(text) == (first, last)


@pytest.mark.parametrize(
    "text", ["", "-", "--", "20261301", "20260230", "tomorrow", "9999", "0000", "20260102-2000x"]
)
def test_what_is_no_time_is_refused(text) -> None:
    with pytest.raises(BadRequestError):
        span(text)


def test_a_written_time_is_read_as_the_same_moment() -> None:
    assert moment(written(AT)) == AT
