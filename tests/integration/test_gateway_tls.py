"""The gateway speaks TLS with callers that show a certificate; silent ones hold up nobody."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from services.gateway.main import create_intake
from services.gateway.scp import Gateway
from services.gateway.tls import GatewayTlsError
from shared.local.ports import HOST
from shared.settings import Settings
from tests.certificates import Certificate, make_certificate, needs_openssl

CALLER, CALLED = "SCOPE1", "HEMOTRIAGE"

pytestmark = needs_openssl


@pytest.fixture
def server(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "server")


@pytest.fixture
def caller(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "caller")


@pytest.fixture
def told(settings: Settings, key_id: str, server: Certificate, caller: Certificate) -> Settings:
    changes = {
        "dicom_calling_aes": CALLER,
        "dicom_api_key_id": key_id,
        "dicom_tls_certificate": server.file,
        "dicom_tls_key": server.key,
        "dicom_tls_client_ca": caller.file,
    }
    return settings.model_copy(update=changes)


def associate(port: int, tls: ssl.SSLContext | None):
    entity = AE(ae_title=CALLER)
    entity.acse_timeout = 5
    entity.add_requested_context(Verification)
    arguments = (tls, HOST) if tls else None
    return entity.associate(HOST, port, ae_title=CALLED, tls_args=arguments)


def test_only_callers_with_a_certificate_are_heard(
    told: Settings, sessions, storage, server: Certificate, caller: Certificate
) -> None:
    gateway = Gateway(create_intake(told))
    port = gateway.start()
    try:
        trusting = ssl.create_default_context(cafile=server.file)
        assert not associate(port, trusting).is_established
        assert not associate(port, None).is_established
        trusting.load_cert_chain(caller.file, caller.key)
        with socket.create_connection((HOST, port)):  # says nothing, not even hello
            association = associate(port, trusting)
            assert association.send_c_echo().Status == 0
            association.release()
    finally:
        gateway.close()


@pytest.mark.parametrize("name", ["dicom_tls_certificate", "dicom_tls_key", "dicom_tls_client_ca"])
def test_a_gateway_with_files_that_do_not_fit_does_not_start(
    told: Settings, sessions, storage, caller: Certificate, name: str
) -> None:
    wrong = {"dicom_tls_client_ca": caller.key}.get(name, caller.file)
    with pytest.raises(GatewayTlsError):
        Gateway(create_intake(told.model_copy(update={name: wrong}))).start()


def test_a_key_without_a_certificate_is_no_silent_plain_port(
    told: Settings, sessions, storage
) -> None:
    with pytest.raises(GatewayTlsError):
        Gateway(create_intake(told.model_copy(update={"dicom_tls_certificate": None}))).start()
