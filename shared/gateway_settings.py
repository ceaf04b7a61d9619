"""The settings of the gateway: DICOM by DIMSE, and HL7 orders by MLLP."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from shared.auth.hosts import parse_networks

# VR AE of PS3.5, table 6.2-1, less what the list of these separates by.
AE_TITLE = r"^[A-Za-z0-9_.\- ]{1,16}$"
CALLING_AES = r"^([A-Za-z0-9_.\- ]{1,16}(@[0-9A-Fa-f.:]+)?(,|$))*$"

AccessionField = Literal["ORC-2", "ORC-3", "OBR-2", "OBR-3", "OBR-18", "SPM-2"]
"""Where an HL7 order may say its accession number."""


class GatewaySettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    dicom_host: str = Field(
        default="127.0.0.1", description="Address that the DICOM gateway listens on."
    )
    dicom_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the DICOM gateway; 0: there is none."
    )
    dicom_ae_title: str = Field(
        default="HEMOTRIAGE", pattern=AE_TITLE, description="AE title of the DICOM gateway."
    )
    dicom_calling_aes: str = Field(
        default="",
        pattern=CALLING_AES,
        description="Who may send to the DICOM gateway: `AE` or `AE@ADDRESS`, by comma.",
    )
    dicom_api_key_id: str = Field(
        default="", description="Id of the API key whose jobs those of the DICOM gateway are."
    )
    dicom_tls_certificate: Path | None = Field(
        default=None, description="PEM file with the DICOM gateway's certificate; unset: no TLS."
    )
    dicom_tls_key: Path | None = Field(
        default=None, description="PEM file with the key of that certificate."
    )
    dicom_tls_client_ca: Path | None = Field(
        default=None, description="PEM file of who vouches for DICOM senders; unset: nobody must."
    )

    hl7_host: str = Field(default="127.0.0.1", description="Address that takes HL7 orders by MLLP.")
    hl7_port: int = Field(
        default=0, ge=0, le=65535, description="Port that takes HL7 orders; 0: there is none."
    )
    hl7_allowed_hosts: str = Field(
        default="", description="Addresses and networks that may send HL7 orders, by comma."
    )
    hl7_api_key_id: str = Field(
        default="", description="Id of the API key whose orders those by HL7 are."
    )
    hl7_accession_field: AccessionField = Field(
        default="ORC-2", description="Field of an HL7 order that is its accession number."
    )
    hl7_tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate of that port; unset: no TLS."
    )
    hl7_tls_key: Path | None = Field(
        default=None, description="PEM file with the key of that certificate."
    )
    hl7_tls_client_ca: Path | None = Field(
        default=None, description="PEM file of who vouches for HL7 senders; unset: nobody must."
    )

    @field_validator("hl7_allowed_hosts")
    @classmethod
    def _hosts_are_networks(cls, hosts: str) -> str:
        return hosts if parse_networks(hosts) else ""
