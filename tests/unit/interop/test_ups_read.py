"""Workitems are read as DICOM has them, and no patient with them."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from pydicom.dataset import Dataset

from shared.errors import BadRequestError
from shared.interop.dicom.ups.read import (
    read_changes,
    read_creation,
    read_dataset,
    read_state_change,
)
from shared.jobs.states import Priority
from tests.unit.interop.workitems import SETTINGS, asked


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
