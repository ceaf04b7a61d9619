"""Reads what a client says of a workitem, in DICOM JSON (PS3.18, annex F).

A workitem of a hospital names a patient. Only the attributes below are looked at; of the patient a
pseudonym is made, and everything else is left behind unread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from shared.errors import BadRequestError
from shared.interop.dicom.deidentify import pseudonym
from shared.interop.dicom.errors import CorruptDicomError
from shared.interop.dicom.read import guarded
from shared.interop.dicom.ups.names import PRIORITY_OF, UPS_PUSH
from shared.interop.dicom.ups.times import moment
from shared.orders.workitem_entities import WorkitemState
from shared.settings import Settings

_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "AffectedSOPInstanceUID", "TransactionUID"),
    *("PatientID", "IssuerOfPatientID", "ReferencedRequestSequence", "ScheduledSpecimenSequence"),
    *("ScheduledProcedureStepPriority", "ScheduledProcedureStepStartDateTime"),
    *("ProcedureStepLabel", "InputReadinessState", "ProcedureStepState"),
)
_READ = {f"{Tag(keyword):08X}" for keyword in _KEYWORDS}
_NEEDED = (
    *("ScheduledProcedureStepPriority", "ProcedureStepLabel"),
    *("ScheduledProcedureStepStartDateTime", "InputReadinessState"),
)


@dataclass(frozen=True)
class StateChange:
    """The state that a performer asks for, and its transaction; empty where it names none."""

    state: WorkitemState
    transaction_uid: str


def read_dataset(body: bytes) -> Dataset:
    """The attributes that are looked at, of a body with one data set; alone or in a list.

    Raises:
        BadRequestError: It is no DICOM JSON, or not one data set.
    """
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("The body is no JSON.") from error
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise BadRequestError("Expected one data set.")
    try:
        with guarded():
            return Dataset.from_json({tag: document[tag] for tag in _READ & document.keys()})
    except CorruptDicomError:
        raise BadRequestError("The body is no DICOM JSON.") from None


def read_creation(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """What a new workitem orders, by the names of `NewOrder`.

    Raises:
        BadRequestError: It lacks an attribute of type 1 of PS3.4, table CC.2.5-3 (N-CREATE), is
            not to be scheduled, or has no accession number, by which images find it.
    """
    for keyword in _NEEDED:
        if not _text(dataset, keyword):
            raise BadRequestError(f"{keyword} needs a value.")
    if _text(dataset, "ProcedureStepState") != WorkitemState.SCHEDULED:
        raise BadRequestError("ProcedureStepState must be SCHEDULED.")
    if _text(dataset, "TransactionUID"):
        raise BadRequestError("TransactionUID must be empty.")
    if _text(dataset, "SOPClassUID") not in ("", UPS_PUSH):
        raise BadRequestError(f"SOPClassUID must be {UPS_PUSH}.")
    said = read_changes(dataset, settings)
    if "accession_number" not in said:
        raise BadRequestError("ReferencedRequestSequence needs an item with an AccessionNumber.")
    return said


def read_changes(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """The values that a data set has, by the names of `NewOrder`; empty ones change nothing.

    Raises:
        BadRequestError: A value is not as its attribute wants it.
    """
    request = _item(dataset, "ReferencedRequestSequence")
    procedure = _item(request, "RequestedProcedureCodeSequence")
    specimen = _item(dataset, "ScheduledSpecimenSequence")
    described = _item(specimen, "SpecimenDescriptionSequence")
    said: dict[str, Any] = {
        "accession_number": _text(request, "AccessionNumber"),
        "study_uid": _text(request, "StudyInstanceUID"),
        "placer_number": _text(request, "PlacerOrderNumberImagingServiceRequest"),
        "filler_number": _text(request, "FillerOrderNumberImagingServiceRequest"),
        "procedure_code": _text(procedure, "CodeValue") or _text(procedure, "LongCodeValue"),
        "procedure_system": _text(procedure, "CodingSchemeDesignator"),
        "specimen_id": _text(described, "SpecimenIdentifier")
        or _text(specimen, "ContainerIdentifier"),
        "patient_ref": pseudonym(
            settings.pseudonym_secret,
            _text(dataset, "PatientID"),
            _text(dataset, "IssuerOfPatientID"),
        ),
    }
    if priority := _text(dataset, "ScheduledProcedureStepPriority"):
        if priority not in PRIORITY_OF:
            raise BadRequestError(f"Expected a priority of {', '.join(PRIORITY_OF)}.")
        said["priority"] = PRIORITY_OF[priority]
    if start := _text(dataset, "ScheduledProcedureStepStartDateTime"):
        said["scheduled_at"] = moment(start)
    return {name: value for name, value in said.items() if value}


def named_uid(dataset: Dataset) -> str:
    """The UID that a data set says the workitem has; empty where it says none."""
    return _text(dataset, "SOPInstanceUID") or _text(dataset, "AffectedSOPInstanceUID")


def patient_id(dataset: Dataset) -> str:
    """The PatientID as it was sent; never to be kept."""
    return _text(dataset, "PatientID")


def transaction_uid(dataset: Dataset) -> str:
    """The Transaction UID; empty where there is none."""
    return _text(dataset, "TransactionUID")


def read_state_change(dataset: Dataset) -> StateChange:
    """What is asked for (PS3.4, table CC.2.1-1).

    Raises:
        BadRequestError: It is no state that a performer may ask for.
    """
    wanted = _text(dataset, "ProcedureStepState")
    allowed = [state.value for state in WorkitemState if state is not WorkitemState.SCHEDULED]
    if wanted not in allowed:
        raise BadRequestError(f"Expected a ProcedureStepState of {', '.join(allowed)}.")
    return StateChange(WorkitemState(wanted), transaction_uid(dataset))


def _item(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty one where there is none."""
    items: Any = dataset.get(keyword)
    if not items:
        return Dataset()
    if not isinstance(items, Sequence):
        raise BadRequestError(f"{keyword} must be a sequence.")
    return items[0]


def _text(dataset: Dataset, keyword: str) -> str:
    """A value without its padding (PS3.5, section 6.2); empty where there is none."""
    value: Any = dataset.get(keyword)
    if value is None:
        return ""
    # What is said to be of another VR is something else, and so are several values.
    text = value.strip(" \0") if isinstance(value, str) else "\0"
    if not text.isprintable():
        raise BadRequestError(f"{keyword} must be a text without control characters.")
    return text
