"""The data types of FHIR R4 that results are made of (section 2.24), as plain JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from shared.interop import codes
from shared.interop.codes import Concept
from shared.jobs.entities import Job
from shared.orders.entities import Order

DICOM_UIDS = "urn:dicom:uid"
"""The system of DICOM UIDs, which are `urn:oid:` then (R4, ImagingStudy.identifier)."""
SHA256 = "urn:hemotriage:sha256"
_TYPES_OF_IDENTIFIER = "http://terminology.hl7.org/CodeSystem/v2-0203"

Json = dict[str, Any]


def without_nothing(parts: Mapping[str, Any]) -> Json:
    """An object without what it has not: an element of FHIR is never null and never empty."""
    return {name: part for name, part in parts.items() if part not in (None, "", [], {})}


def coding(concept: Concept) -> Json:
    """A Coding."""
    return {"system": concept.system.uri, "code": concept.code, "display": concept.display}


def concept_of(*concepts: Concept, text: str | None = None) -> Json:
    """A CodeableConcept of codes that mean the same, and perhaps what a person reads for them."""
    return without_nothing({"coding": [coding(concept) for concept in concepts], "text": text})


def quantity(value: float) -> Json:
    """A Quantity of dimension 1."""
    unit = codes.NO_UNIT
    return {"value": value, "unit": unit.code, "system": unit.system.uri, "code": unit.code}


def instant(moment: dt.datetime) -> str:
    """An instant in UTC, to the millisecond."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def known_by(kind: str, value: str | None, *, system: str | None = None, **more: Any) -> Json:
    """A logical reference (R4 section 2.3.0.2) to what lives elsewhere; empty without a value.

    An identifier of the hospital has no system: this service does not know who gave it.
    """
    if not value:
        return {}
    return {
        "type": kind,
        "identifier": without_nothing({**more, "system": system, "value": value}),
    }


def uid(kind: str, value: str) -> Json:
    """A logical reference to something of DICOM."""
    return known_by(kind, f"urn:oid:{value}", system=DICOM_UIDS)


def identifier_type(code: str) -> Json:
    """What kind of identifier one is, by a code of HL7 table 0203."""
    return {"coding": [{"system": _TYPES_OF_IDENTIFIER, "code": code}]}


def orders_of(job: Job, order: Order | None) -> list[Json]:
    """The order of a job, by each of its numbers: the accession number, and the placer's.

    Types ACSN and PLAC of HL7 table 0203 (R4, ServiceRequest.identifier).
    """
    placer_number = order.placer_number if order else None
    known = (
        known_by("ServiceRequest", job.accession_number, type=identifier_type("ACSN")),
        known_by("ServiceRequest", placer_number, type=identifier_type("PLAC")),
    )
    return [reference for reference in known if reference]


def whereof(job: Job, order: Order | None) -> Json:
    """Order, patient and specimen of a job, as far as they are known; the patient by pseudonym."""
    return {
        "basedOn": orders_of(job, order),
        "subject": known_by("Patient", job.patient_ref),
    }
