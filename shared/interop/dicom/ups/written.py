"""A workitem as a Unified Procedure Step (PS3.3, section B.26; PS3.4, table CC.2.5-3).

An attribute that the table wants and that nothing is known of is there without a value. Texts that
do not fit their attribute are left out, never cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from shared import __version__
from shared.interop import codes
from shared.interop.codes import Concept
from shared.interop.dicom.texts import LONGEST_LO, LONGEST_SH, fitting
from shared.interop.dicom.ups.names import PRIORITIES, UPS_PUSH, workitem_uid
from shared.interop.dicom.ups.times import written
from shared.interop.results import SOFTWARE, identity
from shared.jobs.entities import Job
from shared.jobs.states import Status
from shared.orders.entities import Order
from shared.orders.workitem_entities import Input, Workitem, WorkitemState

_EMPTY = (
    *("CommentsOnTheScheduledProcedureStep", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AdmissionID", "AdmittingDiagnosesDescription"),
)
_NO_ITEMS = (
    *("ScheduledProcessingParametersSequence", "ScheduledStationClassCodeSequence"),
    *("ScheduledStationGeographicLocationCodeSequence", "OtherPatientIDsSequence"),
    *("IssuerOfAdmissionIDSequence", "AdmittingDiagnosesCodeSequence"),
)
# Of a queued and of a running job nobody knows how far it is.
_PROGRESS = {WorkitemState.SCHEDULED: "0", WorkitemState.COMPLETED: "100"}


def workitem_json(workitem: Workitem, *, base_url: str, station: str) -> dict[str, Any]:
    """A workitem in DICOM JSON (PS3.18, annex F); without its Transaction UID, which is a lock.

    Args:
        workitem: An order or a job.
        base_url: Where this service is, without a slash at the end.
        station: Its AE title.
    """
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 192"
    step.SOPClassUID = UPS_PUSH
    step.SOPInstanceUID = workitem_uid(workitem.about.id)
    for keyword in _EMPTY:
        setattr(step, keyword, "")
    for keyword in _NO_ITEMS:
        setattr(step, keyword, [])
    _add_schedule(step, workitem, station)
    _add_relations(step, workitem)
    _add_progress(step, workitem, base_url)
    job = workitem.job
    step.UnifiedProcedureStepPerformedProcedureSequence = (
        [_performed(workitem, job, base_url, station)] if job and job.started_at else []
    )
    return step.to_json_dict()


def _add_schedule(step: Dataset, workitem: Workitem, station: str) -> None:
    """PS3.3, section C.30.2."""
    about, order = workitem.about, workitem.order
    if isinstance(about, Order):
        start, changed = about.scheduled_at or about.created_at, about.updated_at
    else:
        start = changed = about.submitted_at
    step.ScheduledProcedureStepPriority = PRIORITIES[about.priority]
    step.ScheduledProcedureStepModificationDateTime = written(changed)
    step.ProcedureStepLabel = codes.TRIAGE.display
    step.WorklistLabel = SOFTWARE
    step.ScheduledProcedureStepStartDateTime = written(start)
    step.ScheduledStationNameCodeSequence = [_station(station)]
    step.ScheduledWorkitemCodeSequence = [_coded(codes.TRIAGE)]
    # Which images there will be for an order is known when they are here.
    step.InputReadinessState = "INCOMPLETE" if order and workitem.job is None else "READY"
    step.InputInformationSequence = list(_instances(workitem.inputs))
    if about.specimen_id and (fits := fitting(about.specimen_id, LONGEST_LO)):
        described = Dataset()
        described.SpecimenIdentifier = fits
        specimen = Dataset()
        specimen.SpecimenDescriptionSequence = [described]
        step.ScheduledSpecimenSequence = [specimen]


def _add_relations(step: Dataset, workitem: Workitem) -> None:
    """PS3.3, section C.30.4: whom and which order it is about."""
    about, order, job = workitem.about, workitem.order, workitem.job
    patient = about.patient_ref or (job.patient_ref if job else None)
    step.PatientID = fitting(patient, LONGEST_LO)
    request = Dataset()
    study = (order and order.study_uid) or next((one.study_uid for one in workitem.inputs), "")
    request.StudyInstanceUID = study
    request.AccessionNumber = fitting(about.accession_number, LONGEST_SH)
    request.IssuerOfAccessionNumberSequence = []
    request.RequestedProcedureID = request.RequestedProcedureDescription = ""
    request.RequestedProcedureCodeSequence = []
    if order is not None:
        placer, filler = order.placer_number, order.filler_number
        request.PlacerOrderNumberImagingServiceRequest = fitting(placer, LONGEST_LO)
        request.FillerOrderNumberImagingServiceRequest = fitting(filler, LONGEST_LO)
        system = fitting(order.procedure_system, LONGEST_SH)
        if order.procedure_code and system:
            code = _code(order.procedure_code, system, order.procedure_code)
            request.RequestedProcedureCodeSequence = [code]
    step.ReferencedRequestSequence = [request] if about.accession_number else []


def _add_progress(step: Dataset, workitem: Workitem, base_url: str) -> None:
    """PS3.3, section C.30.1."""
    state, job = workitem.state, workitem.job
    step.ProcedureStepState = state.value
    progress = Dataset()
    if state in _PROGRESS:
        progress.ProcedureStepProgress = _PROGRESS[state]
    if job is not None:
        progress.ProcedureStepProgressDescription = f"job {job.status}"
        contact = Dataset()
        contact.ContactURI = f"{base_url}/v1/jobs/{job.id}"
        contact.ContactDisplayName = f"{SOFTWARE}: the job"
        progress.ProcedureStepCommunicationsURISequence = [contact]
    if state is WorkitemState.CANCELED:
        order = workitem.order
        ended = job.finished_at if job else order.updated_at if order else None
        progress.ProcedureStepCancellationDateTime = written(ended) if ended else ""
        reason = job.error.code if job and job.error else Status.CANCELLED.value
        coded = _code(reason, codes.LOCAL.dicom, reason.replace("_", " "))
        progress.ProcedureStepDiscontinuationReasonCodeSequence = [coded]
    step.ProcedureStepProgressInformationSequence = [progress]


def _performed(workitem: Workitem, job: Job, base_url: str, station: str) -> Dataset:
    """What the job has done so far (PS3.3, section C.30.3)."""
    done = Dataset()
    done.PerformedStationNameCodeSequence = [_station(station)]
    done.PerformedStationClassCodeSequence = []
    done.PerformedStationGeographicLocationCodeSequence = []
    done.PerformedProcessingParametersSequence = []
    done.PerformedWorkitemCodeSequence = [_coded(codes.TRIAGE)]
    done.PerformedProcedureStepDescription = fitting(job.model, LONGEST_LO)
    done.PerformedProcedureStepStartDateTime = written(job.started_at) if job.started_at else ""
    if job.finished_at:
        done.PerformedProcedureStepEndDateTime = written(job.finished_at)
    succeeded = job.status is Status.SUCCEEDED and workitem.inputs
    done.OutputInformationSequence = [_report(workitem, job, base_url)] if succeeded else []
    return done


def _report(workitem: Workitem, job: Job, base_url: str) -> Dataset:
    """The structured report, under the UIDs that `shared.interop.dicom.report` gives it."""
    report = Input(
        workitem.inputs[0].study_uid,
        workitem_uid(identity(job, "series")),
        workitem_uid(identity(job, f"report {__version__}")),
        ComprehensiveSRStorage,
    )
    [item] = _instances([report])
    address = Dataset()
    address.RetrieveURL = f"{base_url}/v1/jobs/{job.id}/result"
    item.WADORSRetrievalSequence = [address]
    return item


def _instances(inputs: Sequence[Input]) -> Iterator[Dataset]:
    """An item for each series (PS3.3, table 10-3b), in order of the first image of each."""
    for (study, series), own in groupby(inputs, lambda one: (one.study_uid, one.series_uid)):
        item = Dataset()
        item.TypeOfInstances = "DICOM"
        item.StudyInstanceUID, item.SeriesInstanceUID = study, series
        item.ReferencedSOPSequence = []
        for instance in own:
            referenced = Dataset()
            referenced.ReferencedSOPClassUID = instance.sop_class_uid
            referenced.ReferencedSOPInstanceUID = instance.instance_uid
            item.ReferencedSOPSequence.append(referenced)
        yield item


def _station(station: str) -> Dataset:
    return _code(station, codes.LOCAL.dicom, SOFTWARE)


def _coded(concept: Concept) -> Dataset:
    return _code(concept.code, concept.system.dicom, concept.display)


def _code(value: str, system: str, meaning: str) -> Dataset:
    """A code (PS3.3, table 8.8-1); where it is longer than 16 characters, as Long Code Value."""
    item = Dataset()
    setattr(item, "CodeValue" if len(value) <= LONGEST_SH else "LongCodeValue", value)
    item.CodingSchemeDesignator = system
    item.CodeMeaning = fitting(meaning, LONGEST_LO)
    return item
