"""Reports go to the archive, by C-STORE and by STOW-RS."""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from functools import partial
from http.server import BaseHTTPRequestHandler

import pytest
from pydantic import SecretStr
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, EnhancedSRStorage

from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests import mllp_receiver, orthanc
from tests.integration import pushes
from tests.integration.pushes import STUDY, Succeed, attempt
from tests.integration.webhooks.events import make_due
from tests.mllp_receiver import MllpReceiver
from tests.receiver import Receiver, cut, drip, hang, redirect_to

KNOWN = "Basic " + base64.b64encode(b"relay:secret-1").decode()


class Archive:
    """A storage SCP that answers with a status and keeps what it was sent."""

    def __init__(self, *statuses: int, sop_class: str = ComprehensiveSRStorage) -> None:
        self.statuses = list(statuses)
        self.stored: list[object] = []
        self.released = threading.Event()
        self.released.set()
        entity = AE(ae_title="ARCHIVE")
        entity.require_called_aet = True
        entity.add_supported_context(sop_class)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    def url(self, title: str = "ARCHIVE") -> str:
        return f"dicom://{title}@127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        self.stored.append(event.dataset)
        self.released.wait(60)
        return self.statuses.pop(0) if self.statuses else 0x0000


@pytest.fixture
def succeed(sessions: Sessions, storage: S3Store, key_id: str) -> Succeed:
    return partial(pushes.succeed, sessions, storage, key_id)


@pytest.fixture
def web() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def archive() -> Iterator[Archive]:
    running = Archive()
    yield running
    running.close()


def test_a_report_reaches_the_archive_by_c_store(sessions, settings, succeed, archive) -> None:
    succeed(archive.url(), is_dicom=True)
    assert attempt(sessions, settings, archive.url()).delivered_at is not None
    (report,) = archive.stored
    assert report.SOPClassUID == ComprehensiveSRStorage
    assert report.StudyInstanceUID == STUDY


@pytest.mark.parametrize(
    ("status", "last_error", "is_final"),
    [
        (0xA700, "dicom_a700", False),
        (0xC000, "dicom_c000", False),
        (0x0110, "dicom_0110", False),
        (0xA900, "dicom_a900", True),
        (0x0122, "dicom_0122", True),
    ],
)
def test_an_archive_that_refuses_is_asked_again_unless_it_will_never_take_it(
    sessions, settings, succeed, archive, *, status: int, last_error: str, is_final: bool
) -> None:
    archive.statuses.append(status)
    succeed(archive.url(), is_dicom=True)
    event = attempt(sessions, settings, archive.url())
    assert (event.delivered_at, event.last_error) == (None, last_error)
    assert (event.next_attempt_at is None) == is_final


@pytest.mark.parametrize("status", [0xB000, 0xB007, 0x0111])
def test_a_warning_and_a_duplicate_are_stored(
    sessions, settings, succeed, archive, status: int
) -> None:
    archive.statuses.append(status)
    succeed(archive.url(), is_dicom=True)
    assert attempt(sessions, settings, archive.url()).delivered_at is not None


def test_the_same_report_comes_again(sessions, settings, succeed, archive) -> None:
    archive.statuses.append(0xA700)
    succeed(archive.url(), is_dicom=True)
    event = attempt(sessions, settings, archive.url())
    make_due(sessions, event.id)
    attempt(sessions, settings, archive.url())
    first, second = archive.stored
    assert first == second


def test_an_archive_of_another_title_or_without_reports_is_told_apart(
    sessions, settings, succeed, archive
) -> None:
    other = Archive(sop_class=EnhancedSRStorage)
    try:
        for url, code in (
            (archive.url("OTHER"), "association_rejected"),
            (other.url(), "context_rejected"),
        ):
            succeed(url, is_dicom=True)
            event = attempt(sessions, settings, url)
            assert event.last_error == code
            assert event.next_attempt_at is not None
    finally:
        other.close()
    assert archive.stored == []


def drip_an_acceptance(receiver: MllpReceiver, connection: socket.socket, _: str) -> None:
    """Begin an A-ASSOCIATE-AC (DICOM PS3.8 section 9.3.3) whose bytes come one by one."""
    connection.sendall(b"\x02\x00\x00\x00\x10\x00")
    while not receiver.released.wait(0.1):
        connection.sendall(b"\x00")


def test_an_archive_that_hangs_holds_nobody(sessions, settings, succeed, archive) -> None:
    archive.released.clear()
    succeed(archive.url(), is_dicom=True)
    event = attempt(sessions, settings, archive.url())
    assert event.last_error == "connection_cut"
    assert event.next_attempt_at is not None
    assert not archive.released.is_set(), "the call ended while the archive held on"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (mllp_receiver.cut, "connect_error"),
        (mllp_receiver.hang, "connect_error"),
        (mllp_receiver.sending(b"garbage" * 100), "connect_error"),
        (drip_an_acceptance, "connect_error"),
    ],
)
def test_what_is_no_archive_holds_nobody(
    sessions, settings, succeed, answer: object, code: str
) -> None:
    class Anything(MllpReceiver):
        @staticmethod
        def _read(connection: object) -> str:
            return connection.recv(100).hex()

    peer = Anything(answer)
    try:
        url = f"dicom://ARCHIVE@127.0.0.1:{peer.port}"
        succeed(url, is_dicom=True)
        assert attempt(sessions, settings, url).last_error == code
        assert not peer.released.is_set()
    finally:
        peer.close()


def stow_url(web: Receiver, path: str = "/dicom-web") -> str:
    return f"stow+http://127.0.0.1:{web.port}{path}"


def answering(status: int, document: object) -> object:
    def answer(_: Receiver, handler: BaseHTTPRequestHandler) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/dicom+json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def failing(reason: int) -> dict[str, object]:
    item = {"00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def with_credentials(settings: Settings, *entries: str) -> Settings:
    return settings.model_copy(update={"result_credentials": SecretStr(",".join(entries))})


def test_an_archive_is_told_who_calls_and_nobody_else_is(
    sessions, settings, succeed, web, caplog
) -> None:
    caplog.set_level(logging.DEBUG)
    other = Receiver()
    try:
        web.answers += [401, redirect_to(f"http://127.0.0.1:{other.port}/studies", status=307)]
        telling = with_credentials(settings, f"127.0.0.1:{web.port}=basic:relay:secret-1")
        for url in (stow_url(web), stow_url(other)):
            succeed(url, is_dicom=True)
        urls = stow_url(web), stow_url(other)
        events = [attempt(sessions, telling, *urls) for _ in urls]
        failed = next(event for event in events if event.url == urls[0])
        make_due(sessions, failed.id)
        events.append(attempt(sessions, telling, *urls))
        assert [call.headers.get("authorization") for call in web.calls] == [KNOWN, KNOWN]
        assert [call.headers.get("authorization") for call in other.calls] == [None]
        assert sorted(str(event.last_error) for event in events) == [
            "None",
            "status_307",
            "status_401",
        ]
    finally:
        other.close()
    told = caplog.text + str([vars(record) for record in caplog.records])
    assert "secret-1" not in told
    assert KNOWN not in told


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing() or "Orthanc is here")
def test_an_archive_with_passwords_takes_reports_of_who_knows_one(
    sessions, settings, succeed, tmp_path
) -> None:
    archive = orthanc.Orthanc(tmp_path, gateway_port=1, user=("relay", "secret-1"))
    archive.start()
    try:
        url = f"stow+{archive.url}/dicom-web"
        place = archive.url.removeprefix("http://")
        succeed(url, is_dicom=True)
        for entries in ((), (f"{place}=basic:relay:wrong",)):
            event = attempt(sessions, with_credentials(settings, *entries), url)
            assert event.last_error == "status_401"
            make_due(sessions, event.id)
        telling = with_credentials(settings, f"{place}=basic:relay:secret-1")
        assert attempt(sessions, telling, url).delivered_at is not None
        assert len(archive.find(StudyInstanceUID=STUDY)) == 1
    finally:
        archive.stop()


def test_a_report_reaches_the_archive_by_stow(sessions, settings, succeed, web) -> None:
    url = stow_url(web)
    succeed(url, is_dicom=True)
    assert attempt(sessions, settings, url).delivered_at is not None
    (call,) = web.calls
    assert call.path == "/dicom-web/studies"
    head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
    related = BytesParser().parsebytes(head + call.body)
    assert related.get_content_type() == "multipart/related"
    assert related.get_param("type") == "application/dicom"
    (part,) = related.get_payload()
    assert part.get_content_type() == "application/dicom"
    start = call.body.index(b"\r\n\r\n") + 4
    report = dcmread(io.BytesIO(call.body[start : call.body.rindex(b"\r\n--")]))
    assert report.SOPClassUID == ComprehensiveSRStorage
    assert report.StudyInstanceUID == STUDY


@pytest.mark.parametrize(
    ("answer", "last_error", "is_final"),
    [
        (500, "status_500", False),
        (hang, "read_timeout", False),
        (drip, "call_timeout", False),
        (cut, "remote_protocol_error", False),
        (401, "status_401", False),
        (redirect_to("http://127.0.0.1:1/"), "status_302", False),
        (answering(409, failing(0x0110)), "dicom_0110", False),
        (answering(409, failing(0x0122)), "dicom_0122", True),
        (answering(202, failing(0xA700)), "dicom_a700", False),
        (answering(409, {}), "status_409", False),
        (answering(202, b"<xml>"), "answer_malformed", False),
        (answering(409, [1]), "answer_malformed", False),
        (answering(409, {"00081198": {"Value": [{}]}}), "answer_malformed", False),
        (answering(409, b" " * 100_000), "answer_too_large", False),
        (answering(202, {}), None, True),
        (answering(409, failing(0x0111)), None, True),
    ],
)
def test_answers_of_stow_are_understood(
    sessions, settings, succeed, *, answer: object, last_error: str | None, is_final: bool
) -> None:
    web = Receiver(answer)
    try:
        url = stow_url(web)
        succeed(url, is_dicom=True)
        event = attempt(sessions, settings, url)
    finally:
        web.close()
    assert event.last_error == last_error
    assert (event.next_attempt_at is None) == is_final
    assert (event.delivered_at is None) == (last_error is not None)
    assert len(web.calls) == 1, "no redirect is followed"
