"""Workitems are written as DICOM has them, without any server."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from shared.errors import BadRequestError, NotFoundError
from shared.interop import codes
from shared.interop.dicom.ups.names import chosen_id, workitem_id, workitem_uid
from shared.interop.dicom.ups.times import written
from shared.interop.dicom.ups.written import workitem_json
from shared.jobs.entities import JobFailure
from shared.jobs.states import Priority, Status
from shared.orders.entities import Order
from shared.orders.states import OrderState
from shared.orders.workitem_entities import (
    OF_JOBS,
    OF_ORDERS,
    Input,
    Workitem,
)
from tests.unit.interop.finished import AT, finished
from tests.unit.interop.sources import MICROSCOPIC

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
