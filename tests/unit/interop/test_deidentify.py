"""What identifies a patient is not read, and a pseudonym cannot be undone without the secret."""

from __future__ import annotations

import io

import pytest
from pydantic import SecretStr
from pydicom.datadict import keyword_for_tag

from shared.interop.dicom.deidentify import IDENTIFYING, KEPT, pseudonym
from shared.interop.dicom.errors import DicomFieldError
from shared.interop.dicom.read import READ_TAGS, Inflation, read_instance
from tests import dicom

SECRET = SecretStr(dicom.SECRET)


def test_the_table_has_what_names_a_patient() -> None:
    names = {keyword_for_tag(tag) for tag in IDENTIFYING}
    assert {
        *("PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "OtherPatientIDs"),
        *("ReferringPhysicianName", "InstitutionName", "OperatorsName", "StationName"),
        *("StudyDate", "ContentDate", "PatientComments", "AccessionNumber", "DeviceSerialNumber"),
    } <= names
    assert len(IDENTIFYING) > 500


def test_of_what_identifies_only_the_pseudonym_and_what_is_kept_is_read() -> None:
    read = {keyword_for_tag(tag) for tag in READ_TAGS & IDENTIFYING - KEPT}
    assert read <= {"PatientID", "IssuerOfPatientID", "SpecimenDescriptionSequence"}


def test_pairs_of_number_and_issuer_never_meet() -> None:
    assert pseudonym(SECRET, "12", "3") != pseudonym(SECRET, "1", "23")


def test_a_pseudonym_is_the_same_for_ever() -> None:
    assert pseudonym(SECRET, "SYN-1", "CLINIC") == pseudonym(SECRET, "SYN-1", "CLINIC")
    assert pseudonym(SECRET, "", "CLINIC") is None
    assert pseudonym(None, "SYN-1", "CLINIC") is None


def test_a_refusal_does_not_quote_what_it_refuses() -> None:
    data = dicom.dicom_bytes(AccessionNumber="Synthetic^Person" * 20)
    with pytest.raises(DicomFieldError) as refused:
        read_instance(io.BytesIO(data), dicom.settings_without_servers(), Inflation(0))
    assert "Synthetic" not in str(refused.value)
