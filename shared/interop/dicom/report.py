"""A result as a DICOM structured report: Comprehensive SR by TID 1500, Measurement Report.

Sources: DICOM PS3.3 section A.35.3, PS3.16 TID 1500, 1501 and 1600. The observer is a device and no
person; the document is preliminary and unverified, whatever reviews say.

Importing highdicom takes half a second: what answers requests imports this module when needed.
"""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dcm
from pydicom.uid import (
    SecondaryCaptureImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
    VLSlideCoordinatesMicroscopicImageStorage,
)
from pydicom.valuerep import DT

from shared import __version__
from shared.interop import codes
from shared.interop.codes import Concept
from shared.interop.dicom.texts import LONGEST_LO, LONGEST_SH, fitting
from shared.interop.results import SOFTWARE, NoDicomSourceError, identity, result_of
from shared.interop.sources import DicomSource
from shared.jobs.entities import Job
from shared.triage.labels import LABELS
from shared.triage.result import FieldResult, TriageResult
from shared.triage.wording import Language
from shared.triage.wording.fields import reasons_to_read

_ONE_FRAME = {
    SecondaryCaptureImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
    VLSlideCoordinatesMicroscopicImageStorage,
}
_QUALITATIVE = sr.CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500, row 12
_ENGLISH = sr.CodedConcept("en", "RFC5646", "English")


def structured_report(job: Job, sources: Sequence[DicomSource]) -> bytes:
    """Write the result of a job as a structured report of the study that its images are of.

    Its texts are in English, its UIDs are derived from the job's id (2.25, PS3.5 section B.2) and
    its times are the result's: within a release the same job gives the same file. Where the images
    are of several studies, it belongs to the first one's, and names the others as other evidence.

    Args:
        job: A job with a result.
        sources: What its images were, in order of index; those that were no DICOM are not in it.

    Returns:
        A DICOM file, explicit VR little endian.

    Raises:
        NoDicomSourceError: There are no sources.
        NoResultError: The job has no result.
    """
    if not sources:
        raise NoDicomSourceError
    result = result_of(job)
    evidence = [_evidence(job, first) for first in _instances(sources)]
    document = _document(job, result, _content(job, result, sources, evidence), evidence)
    buffer = io.BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _document(
    job: Job, result: TriageResult, content: sr.MeasurementReport, evidence: Sequence[Dataset]
) -> sr.ComprehensiveSR:
    at = result.created_at.astimezone(dt.UTC)
    document = sr.ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=_uid(identity(job, "series")),
        series_number=1,
        # Another release may say it otherwise, and a UID names one document for ever.
        sop_instance_uid=_uid(identity(job, f"report {__version__}")),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=job.model,
        software_versions=__version__,
        series_description="Decision support, preliminary",
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(codes.LOCAL.dicom, responsible_organization=SOFTWARE)
        ],
        specific_character_set="ISO_IR 192",
        content_date=at.date(),
        content_time=at.time(),
        series_date=at.date(),
        series_time=at.time(),
    )
    document.InstanceCreationDate = document.ContentDate
    document.InstanceCreationTime = document.ContentTime
    document.TimezoneOffsetFromUTC = "+0000"
    for library in document.ContributingEquipmentSequence:  # highdicom, which notes when it ran
        library.ContributionDateTime = DT(at)
    return document


def _instances(sources: Iterable[DicomSource]) -> list[DicomSource]:
    """The first source of each instance, in order."""
    first: dict[str, DicomSource] = {}
    for source in sources:
        first.setdefault(source.instance_uid, source)
    return list(first.values())


def _evidence(job: Job, source: DicomSource) -> Dataset:
    """What is known of an instance; highdicom takes patient and study from the first one.

    Names and dates of the patient were never kept, so those attributes are empty.
    """
    image = job.images[source.index]
    known = Dataset()
    known.PatientID = fitting(job.patient_ref, LONGEST_LO)
    known.AccessionNumber = fitting(job.accession_number, LONGEST_SH)
    for empty in ("PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"):
        setattr(known, empty, "")
    for empty in ("StudyID", "StudyDate", "StudyTime", "Modality"):
        setattr(known, empty, "")
    known.StudyInstanceUID = source.study_uid
    known.SeriesInstanceUID = source.series_uid
    known.SOPInstanceUID = source.instance_uid
    known.SOPClassUID = source.sop_class_uid
    known.Rows, known.Columns = image.height, image.width
    return known


def _content(
    job: Job, result: TriageResult, sources: Sequence[DicomSource], evidence: Sequence[Dataset]
) -> sr.MeasurementReport:
    groups = [_group(job, "job", result, sources)]
    for field in result.images:
        own = [source for source in sources if source.index == field.index]
        groups.append(
            _group(job, f"field {field.index}", field, own, called=_called(result, field))
        )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(job, result)),
        procedure_reported=_coded(codes.SMEAR_REPORT),
        imaging_measurements=groups,
        title=dcm.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(_ENGLISH),
        referenced_images=evidence,
    )
    said = sr.ContainerContentItem(_QUALITATIVE, relationship_type="CONTAINS")
    said.ContentSequence = sr.ContentSequence([*_coded_items(result), *_text_items(result)])
    content[0].ContentSequence.append(said)
    return content


def _observer(job: Job, result: TriageResult) -> sr.ObserverContext:
    """The model as a device, told from others by its name, version and bytes."""
    model = result.models[0]
    device = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:hemotriage:{job.model}:{model.sha256}")
    return sr.ObserverContext(
        observer_type=dcm.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=_uid(device), name=SOFTWARE, manufacturer_name=SOFTWARE, model_name=job.model
        ),
    )


def _group(
    job: Job,
    name: str,
    part: TriageResult | FieldResult,
    sources: Sequence[DicomSource],
    *,
    called: str | None = None,
) -> sr.MeasurementsAndQualitativeEvaluations:
    """What is said of the job or of a field (TID 1501).

    Its UID is made of the name; a reader sees what it is called instead, if that is given.
    """
    tracking = sr.TrackingIdentifier(uid=_uid(identity(job, name)), identifier=called or name)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        algorithm_id=_algorithm(job),
        measurements=[sr.Measurement(*one) for one in _numbers(part)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                _coded(codes.PATTERN), _coded(codes.PATTERNS[part.prediction])
            ),
            sr.QualitativeEvaluation(_coded(codes.URGENCY), _coded(codes.URGENCIES[part.urgency])),
            *(
                sr.QualitativeEvaluation(_coded(codes.REASON), _coded(codes.reason(code, text)))
                for code, text in zip(part.reasons, part.reason_texts, strict=True)
            ),
        ],
        source_images=list(_images(sources)) or None,
    )


def _called(result: TriageResult, field: FieldResult) -> str | None:
    """A field by the number that the reasons of the job name it by, where there are several."""
    count = len(result.images)
    return f"field {field.index + 1} of {count}" if count > 1 else None


def _images(sources: Sequence[DicomSource]) -> Iterator[sr.SourceImageForMeasurementGroup]:
    """Each instance once, with its frames where it may have several."""
    ordered = sorted(sources, key=lambda source: (source.instance_uid, source.frame))
    for instance, own in groupby(ordered, key=lambda source: source.instance_uid):
        frames = list(own)
        kind = frames[0].sop_class_uid
        numbers = None if kind in _ONE_FRAME else [source.frame for source in frames]
        yield sr.SourceImageForMeasurementGroup(kind, instance, numbers)


def _algorithm(job: Job) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=job.model_name, version=str(job.model_version), manufacturer=SOFTWARE
    )


def _numbers(
    part: TriageResult | FieldResult,
) -> Iterator[tuple[sr.CodedConcept, float, sr.CodedConcept]]:
    """Name, value and unit of each measurement, all of dimension 1."""
    said: list[tuple[Concept, float]] = [
        *((codes.PROBABILITIES[label], part.probabilities[label]) for label in LABELS),
        (codes.P_ALL, part.p_malignant),
    ]
    unit = _coded(codes.NO_UNIT)
    return ((_coded(concept), value, unit) for concept, value in said)


def _coded_items(result: TriageResult) -> Iterator[sr.CodeContentItem]:
    review = dcm.SCT.Yes if result.requires_review else dcm.SCT.No
    yield sr.CodeContentItem(_coded(codes.REVIEW), review, relationship_type="CONTAINS")


def _text_items(result: TriageResult) -> Iterator[sr.TextContentItem]:
    for concept, text in (
        (codes.ACTION, result.recommended_action),
        (codes.TIMELINE, result.timeline),
        *((codes.REASON, text) for text in reasons_to_read(result, Language.ENGLISH)),
        (codes.DISCLAIMER, result.disclaimer),
        (codes.LIMITS, result.limits),
    ):
        yield sr.TextContentItem(_coded(concept), text, relationship_type="CONTAINS")


def _coded(concept: Concept) -> sr.CodedConcept:
    """A code; Code Meaning is an LO, and half a sentence could say the opposite of a whole one."""
    fits = len(concept.display) <= LONGEST_LO
    meaning = concept.display if fits else concept.code.replace("_", " ")
    return sr.CodedConcept(concept.code, concept.system.dicom, meaning)


def _uid(of: uuid.UUID) -> str:
    return f"2.25.{of.int}"
