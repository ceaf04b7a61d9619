"""Speaks the hospital's languages: DICOM, FHIR, HL7."""
