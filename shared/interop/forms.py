"""The forms that a result is handed out in, and their media types."""

from __future__ import annotations

from enum import StrEnum


class ResultForm(StrEnum):
    """A representation of a result; the values are what the command line calls them."""

    JSON = "json"
    FHIR = "fhir"
    HL7 = "hl7"
    DICOM = "dicom"


MEDIA_TYPES = {
    ResultForm.JSON: "application/json",
    ResultForm.FHIR: "application/fhir+json",
    ResultForm.HL7: "application/hl7-v2",
    ResultForm.DICOM: "application/dicom",
}
"""FHIR: R4, RESTful API, content types. DICOM: RFC 3240. HL7 version 2 has registered none."""

HL7_OVER_HTTP = "x-application/hl7-v2+er7"
"""What HAPI's HL7 over HTTP calls ER7; asked for by clients that were written for it."""
