"""A result as a FHIR R4 (4.0.1) bundle.

The resources are DiagnosticReport, Observation, Device and Provenance. Patient, specimen, order and
imaging study live in the hospital's systems: they are referred to by their identifiers alone.

The bundle is a `collection`. A `document` would need a Composition that somebody attests, and
what a machine has found is attested by nobody.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from shared import __version__
from shared.interop import codes
from shared.interop.codes import Concept
from shared.interop.fhir_observations import (
    component,
    interpretation,
    measures,
    pattern_of,
    probabilities,
    reasons,
)
from shared.interop.fhir_parts import (
    SHA256,
    Json,
    concept_of,
    identifier_type,
    instant,
    known_by,
    uid,
    whereof,
    without_nothing,
)
from shared.interop.results import SOFTWARE, identity, result_of
from shared.interop.sources import DicomSource
from shared.jobs.entities import Job
from shared.orders.entities import Order
from shared.triage.result import TriageResult
from shared.triage.wording import Language
from shared.triage.wording.fields import reasons_to_read

_PRELIMINARY = "preliminary"
"""Always: a review is recorded beside a result and changes nothing of it."""
_LABORATORY = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
        }
    ]
}
_AUTHOR = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
            "code": "author",
        }
    ]
}


def bundle(
    job: Job,
    sources: Sequence[DicomSource],
    *,
    language: Language = Language.ENGLISH,
    order: Order | None = None,
) -> dict[str, Any]:
    """Write the result of a job as a bundle.

    Ids are derived from the job's id and times are the job's, so the same job, sources, order and
    language give the same bundle, and a receiver that gets it twice finds the same resources.

    Args:
        job: A job with a result.
        sources: What its images were in DICOM, in order of index; empty where they were none.
        language: Of the texts; codes and numbers are the same in each.
        order: That of the job, whose numbers are repeated.

    Returns:
        A Bundle as JSON holds it.

    Raises:
        NoResultError: The job has no result.
    """
    return _Bundle(job, sources, language, order).whole()


class _Bundle:
    """The resources of one result, which refer to each other."""

    def __init__(
        self, job: Job, sources: Sequence[DicomSource], language: Language, order: Order | None
    ) -> None:
        self._job = job
        self._order = order
        self._sources = {source.index: source for source in sources}
        self._language = language
        self._result = result_of(job, language)
        self._reasons = reasons_to_read(self._result, language)

    def whole(self) -> Json:
        observations = [*self._of_fields(), self._pattern(), self._urgency(), self._review()]
        resources = [self._report(observations), *observations, self._device(), self._provenance()]
        return {
            "resourceType": "Bundle",
            "id": str(identity(self._job, "Bundle")),
            "language": self._language.value,
            "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{self._job.id}"},
            "type": "collection",
            "timestamp": instant(self._result.created_at),
            "entry": [
                {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
                for resource in resources
            ],
        }

    def _resource(self, kind: str, name: str, **parts: Any) -> Json:
        head = {"resourceType": kind, "id": str(self._id(name)), "language": self._language.value}
        return {**head, **without_nothing(parts)}

    def _id(self, name: str) -> uuid.UUID:
        return identity(self._job, name)

    def _reference(self, name: str) -> Json:
        return {"reference": f"urn:uuid:{self._id(name)}"}

    def _report(self, observations: Sequence[Json]) -> Json:
        job, result = self._job, self._result
        specimen = known_by("Specimen", job.specimen_id)
        return self._resource(
            "DiagnosticReport",
            "DiagnosticReport",
            identifier=self._identifiers(),
            **whereof(job, self._order),
            status=_PRELIMINARY,
            category=[concept_of(codes.HAEMATOLOGY)],
            code=concept_of(codes.SMEAR_REPORT, codes.TRIAGE),
            effectiveDateTime=instant(job.submitted_at),
            issued=instant(result.created_at),
            specimen=[specimen] if specimen else [],
            result=[{"reference": f"urn:uuid:{one['id']}"} for one in observations],
            imagingStudy=self._studies(),
            conclusion=_conclusion(result, self._reasons),
            conclusionCode=[pattern_of(result)],
        )

    def _identifiers(self) -> list[Json]:
        """The job's id, and the laboratory's own number for what it fills (type FILL)."""
        ours = {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{self._job.id}"}
        filler = self._order.filler_number if self._order else None
        return [ours, *([{"type": identifier_type("FILL"), "value": filler}] if filler else [])]

    def _studies(self) -> list[Json]:
        studies = dict.fromkeys(source.study_uid for source in self._sources.values())
        return [uid("ImagingStudy", study) for study in studies]

    def _observation(self, name: str, concept: Concept, **parts: Any) -> Json:
        job = self._job
        return self._resource(
            "Observation",
            name,
            **whereof(job, self._order),
            status=_PRELIMINARY,
            category=[_LABORATORY],
            code=concept_of(concept),
            effectiveDateTime=instant(job.submitted_at),
            issued=instant(self._result.created_at),
            specimen=known_by("Specimen", job.specimen_id),
            device=self._reference("Device"),
            **parts,
        )

    def _pattern(self) -> Json:
        result = self._result
        return self._observation(
            "pattern",
            codes.PATTERN,
            valueCodeableConcept=pattern_of(result),
            note=[{"text": result.disclaimer}, {"text": result.limits}],
            derivedFrom=[self._reference(f"field {field.index}") for field in result.images],
            component=[*probabilities(result)],
        )

    def _urgency(self) -> Json:
        result = self._result
        return self._observation(
            "urgency",
            codes.URGENCY,
            valueCodeableConcept=concept_of(codes.URGENCIES[result.urgency]),
            interpretation=interpretation(result),
            component=[
                component(codes.ACTION, valueString=result.recommended_action),
                component(codes.TIMELINE, valueString=result.timeline),
            ],
        )

    def _review(self) -> Json:
        result = self._result
        return self._observation(
            "review",
            codes.REVIEW,
            valueBoolean=result.requires_review,
            component=[*reasons(result, self._reasons)],
        )

    def _of_fields(self) -> Iterator[Json]:
        for field in self._result.images:
            source = self._sources.get(field.index)
            yield self._observation(
                f"field {field.index}",
                codes.PATTERN,
                identifier=[{"system": SHA256, "value": self._job.images[field.index].sha256}],
                valueCodeableConcept=pattern_of(field),
                interpretation=interpretation(field),
                derivedFrom=[uid("ImagingStudy", source.study_uid)] if source else [],
                component=[
                    *probabilities(field),
                    component(
                        codes.URGENCY,
                        valueCodeableConcept=concept_of(codes.URGENCIES[field.urgency]),
                    ),
                    component(codes.REVIEW, valueBoolean=field.requires_review),
                    *reasons(field),
                    *measures(field),
                ],
            )

    def _device(self) -> Json:
        job = self._job
        versions = {"software": __version__, "policy": self._result.policy_version}
        return self._resource(
            "Device",
            "Device",
            identifier=[
                {"system": SHA256, "value": model.sha256}
                for model in self._result.models
                if model.sha256
            ],
            manufacturer=SOFTWARE,
            deviceName=[
                {"name": SOFTWARE, "type": "user-friendly-name"},
                {"name": job.model, "type": "model-name"},
            ],
            modelNumber=job.model,
            version=[{"type": {"text": kind}, "value": value} for kind, value in versions.items()],
            property=[
                {
                    "type": {"text": f"{model.name}@{model.version}"},
                    "valueCode": [
                        {"text": text}
                        for text in (model.engine, model.precision, f"sha256:{model.sha256}")
                    ],
                }
                for model in self._result.models
            ],
        )

    def _provenance(self) -> Json:
        result = self._result
        return self._resource(
            "Provenance",
            "Provenance",
            target=[self._reference("DiagnosticReport")],
            occurredDateTime=instant(result.created_at),
            recorded=instant(result.created_at),
            policy=[f"urn:hemotriage:policy:{result.policy_version}"],
            agent=[{"type": _AUTHOR, "who": self._reference("Device")}],
            entity=[{"role": "source", "what": what} for what in self._looked_at()],
        )

    def _looked_at(self) -> Iterator[Json]:
        """Each image by its SHA-256, and by its instance and frame where it came as DICOM."""
        for image in self._job.images:
            said = {"display": f"image {image.index}"}
            yield {**known_by("Media", image.sha256, system=SHA256), **said}
            if source := self._sources.get(image.index):
                frame = {"display": f"image {image.index}, frame {source.frame}"}
                yield {**uid("Media", source.instance_uid), **frame}


def _conclusion(result: TriageResult, reasons: Sequence[str]) -> str:
    """What a clinician reads first: the texts of the result, with nothing put in between."""
    urgency = f"{result.urgency}: {result.recommended_action}, {result.timeline}"
    return "\n".join((result.display, urgency, *reasons, result.disclaimer))
