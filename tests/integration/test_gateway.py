"""A PACS sends to the gateway by C-STORE, and is told the truth of what became of it."""

from __future__ import annotations

import io
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from pydicom import dcmread, uid
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from sqlalchemy import select

from services.gateway.callers import Callers
from services.gateway.main import create_intake
from services.gateway.scp import MAX_CONNECTIONS, Gateway, NoCallersError
from shared.auth.hosts import parse_networks
from shared.auth.keys import Scope, create_key, revoke_key
from shared.db.models import JobRow
from shared.interop.sources import read_sources
from shared.settings import Settings
from tests import dicom
from tests.integration.jobs import count
from tests.waiting import eventually

CALLER, CALLED = "SCOPE1", "HEMOTRIAGE"


def settings_for(settings: Settings, key_id: str, **changes: object) -> Settings:
    told = {"dicom_port": 0, "dicom_api_key_id": key_id, "dicom_calling_aes": f"{CALLER}@127.0.0.1"}
    return settings.model_copy(update={**told, **changes})


@pytest.fixture
def gateways(settings, sessions, storage, key_id) -> Iterator[object]:
    running = []

    def start(**changes: object) -> int:
        gateway = Gateway(create_intake(settings_for(settings, key_id, **changes)))
        port = gateway.start()
        running.append(gateway)
        return port

    yield start
    for gateway in running:
        gateway.close()


@pytest.fixture
def port(gateways) -> int:
    return gateways()


def associate(port: int, *, title: str = CALLER, called: str = CALLED, syntax: str | None = None):
    entity = AE(ae_title=title)
    entity.add_requested_context(Verification)
    syntaxes = [syntax or uid.ExplicitVRLittleEndian]
    entity.add_requested_context(uid.VLMicroscopicImageStorage, syntaxes)
    return entity.associate("127.0.0.1", port, ae_title=called)


def send(port: int, data: bytes) -> int | None:
    ds = dcmread(io.BytesIO(data))
    association = associate(port, syntax=ds.file_meta.TransferSyntaxUID)
    assert association.is_established
    status = association.send_c_store(ds).get("Status")
    association.release()
    return status


def test_an_echo_is_answered(port) -> None:
    association = associate(port)
    assert association.send_c_echo().Status == 0
    association.release()


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_a_stored_instance_is_a_job(port, sessions, syntax) -> None:
    data = dicom.in_syntax(syntax, dicom.field(1), dicom.field(2))
    assert send(port, data) == 0
    with sessions() as session:
        job = session.scalars(select(JobRow)).one()
    assert (job.accession_number, job.specimen_id, job.status) == ("ACC-1", "SLIDE-1", "queued")
    sources = read_sources(sessions, job.id)
    assert [source.frame for source in sources] == [1, 2]
    assert {source.instance_uid for source in sources} == {dcmread(io.BytesIO(data)).SOPInstanceUID}


def test_the_same_instance_again_is_the_same_job(port, sessions) -> None:
    data = dicom.dicom_bytes()
    assert [send(port, data), send(port, data)] == [0, 0]
    assert count(sessions, JobRow) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"BurnedInAnnotation": "YES"}, 0xA900),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, 0xA900),
        ({"NumberOfFrames": 3}, 0xC000),
        ({"StudyInstanceUID": None}, 0xC000),
    ],
)
def test_what_is_no_usable_image_is_refused(port, sessions, changes, status) -> None:
    assert send(port, dicom.dicom_bytes(**changes)) == status
    assert count(sessions, JobRow) == 0


@pytest.mark.parametrize(
    ("names"), [{"title": "STRANGER"}, {"called": "OTHER"}], ids=["calling", "called"]
)
def test_strangers_are_rejected(port, names) -> None:
    assert associate(port, **names).is_rejected


def test_a_gateway_that_nobody_may_send_to_does_not_start(gateways) -> None:
    with pytest.raises(NoCallersError):
        gateways(dicom_calling_aes="")


def test_a_title_from_another_address_sends_nothing(gateways, sessions) -> None:
    association = associate(gateways(dicom_calling_aes=f"{CALLER}@192.0.2.1,OTHER"))
    ds = dcmread(io.BytesIO(dicom.dicom_bytes()))
    with pytest.raises(RuntimeError):
        while True:
            association.send_c_store(ds)
    assert count(sessions, JobRow) == 0


def test_who_calls_from_an_unknown_address_takes_no_place(gateways) -> None:
    port = gateways(dicom_calling_aes=f"{CALLER}@192.0.2.1")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
        assert stranger.recv(1) == b""


def test_silent_connections_are_no_more_than_there_are_places_for(port) -> None:
    with ExitStack() as silent:

        def connect() -> socket.socket:
            return silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))

        def is_cut_off() -> bool:
            connection = connect()
            connection.settimeout(0.5)
            with suppress(TimeoutError):
                return connection.recv(1) == b""
            return False

        for _ in range(MAX_CONNECTIONS):
            connect()
        # A connection counts once its thread has begun.
        eventually(is_cut_off, 8)


def test_a_revoked_key_stores_nothing_more(port, sessions, key_id) -> None:
    assert send(port, dicom.dicom_bytes()) == 0
    revoke_key(sessions, key_id)
    assert send(port, dicom.dicom_bytes()) == 0x0124
    assert count(sessions, JobRow) == 1


def test_a_key_of_other_hosts_or_over_its_rate_stores_nothing(gateways, sessions) -> None:
    away, _ = create_key(
        sessions, "away", [Scope.SUBMIT], allowed_hosts=parse_networks("192.0.2.0/24")
    )
    slow, _ = create_key(sessions, "slow", [Scope.SUBMIT], jobs_per_minute=1)
    assert send(gateways(dicom_api_key_id=away.id), dicom.dicom_bytes()) == 0x0124
    port = gateways(dicom_api_key_id=slow.id)
    assert [send(port, dicom.dicom_bytes()) for _ in range(2)] == [0, 0xA700]
    assert count(sessions, JobRow) == 1


def test_a_gateway_without_a_key_that_may_submit_does_not_start(gateways, sessions) -> None:
    reader, _ = create_key(sessions, "reader", [Scope.READ])
    for key_id in ("", "none", reader.id):
        with pytest.raises(Exception, match="HEMOTRIAGE_DICOM_API_KEY_ID"):
            gateways(dicom_api_key_id=key_id)


def test_without_the_object_store_the_sender_keeps_the_instance(gateways, sessions) -> None:
    port = gateways(s3_endpoint="127.0.0.1:9")
    assert send(port, dicom.dicom_bytes()) == 0xA700
    assert count(sessions, JobRow) == 0


def test_an_instance_that_is_too_large_ends_the_association(gateways, sessions) -> None:
    port = gateways(max_request_bytes=20_000)
    assert send(port, dicom.dicom_bytes(dicom.field(1, size=256))) is None
    assert count(sessions, JobRow) == 0


def test_a_pdu_of_gigabytes_is_not_waited_for(port) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(struct.pack(">BBL", 0x04, 0, 2**31))
        with suppress(ConnectionError):
            assert connection.recv(1) in (b"", b"\x07"), "the end, or an A-ABORT"


def test_callers_are_told_apart_by_title_and_address() -> None:
    callers = Callers.parse("A,B@10.0.0.1,B@::1")
    assert callers.titles == ["A", "B"]
    assert callers.allow("A ", "192.0.2.7")
    assert callers.allow("B", "::ffff:10.0.0.1")
    assert not callers.allow("B", "10.0.0.2")
    assert not callers.allow("C", "10.0.0.1")
    with pytest.raises(ValueError):
        Callers.parse("A@host.example")


@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")
def test_dcmtk_sends_too(port, sessions, tmp_path) -> None:
    path = tmp_path / "field.dcm"
    path.write_bytes(dicom.dicom_bytes())
    names = ["-aet", CALLER, "-aec", CALLED, "127.0.0.1", str(port)]
    subprocess.run(["echoscu", *names], check=True, timeout=60)
    subprocess.run(["storescu", *names, str(path)], check=True, timeout=60)
    assert count(sessions, JobRow) == 1
