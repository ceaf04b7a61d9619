"""MLLP over real sockets: what is sent, what counts as taken, and receivers that misbehave."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.interop.hl7.mllp import MAX_ACK_BYTES, check_acknowledged, send
from shared.webhooks.call import CallFailedError
from tests import mllp_receiver
from tests.mllp_receiver import MllpReceiver, ack, acking, framed, sending

CONTROL_ID = "4711"
MESSAGE = f"MSH|^~\\&|HEMOTRIAGE||||20260101||ORU^R01|{CONTROL_ID}|P|2.5.1\rNTE|1||prüfen 検査\r"


@contextmanager
def receiving(*answers: object, **options: object) -> Iterator[MllpReceiver]:
    receiver = MllpReceiver(*answers, **options)
    try:
        yield receiver
    finally:
        receiver.close()


def sent(port: int, message: str = MESSAGE, *, seconds: float = 5.0, **options: object) -> None:
    got = send(
        "127.0.0.1", port, message, connect_seconds=seconds, answer_seconds=seconds, **options
    )
    check_acknowledged(got, CONTROL_ID)


def failure(port: int, message: str = MESSAGE, **options: object) -> CallFailedError:
    with pytest.raises(CallFailedError) as failed:
        sent(port, message, **options)
    return failed.value


def test_a_message_arrives_as_it_is_and_is_acknowledged() -> None:
    with receiving() as receiver:
        sent(receiver.port)
        assert receiver.messages == [MESSAGE]


def test_a_large_message_arrives_whole() -> None:
    message = MESSAGE + "NTE|2||" + "x" * 3_000_000 + "\r"
    with receiving() as receiver:
        sent(receiver.port, message)
        assert receiver.messages == [message]


@pytest.mark.parametrize(
    ("answer", "code", "is_final"),
    [
        (acking("AE"), "ack_ae", False),
        (acking("AR"), "ack_ar", False),
        (acking("AE", "ERR||PID^1^3|204^Unknown key identifier^HL70357|E"), "ack_ae_204", False),
        (acking("AR", "ERR||PID|207|E||||Patient PAT-1234 is unknown"), "ack_ar_207", False),
        (acking("AE", "ERR||OBX^1^5|102^Data type error^HL70357|E"), "ack_ae_102", True),
        (acking("AR", "ERR||MSH^1^12|203|E"), "ack_ar_203", True),
        (acking("AE", "ERR||PID|PAT-1234|E"), "ack_ae", False),
        (acking("CA"), "ack_unknown", False),
        (acking(""), "ack_unknown", False),
        (acking("AA", control_id="4712"), "ack_of_another", False),
        (acking("AR", control_id="4712"), "ack_of_another", False),
        (acking("AA", control_id=""), "ack_of_another", False),
        (sending(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1c\r"), "ack_malformed", False),
        (sending(framed(b"")), "ack_malformed", False),
        (sending(framed(b"\xff\xfe\x00")), "ack_malformed", False),
        (sending(framed(b"MSH|^~\\&|LIS\r")), "ack_malformed", False),
        (sending(framed(b"MSA|AA|4711\r")), "ack_malformed", False),
        (sending(framed(b"MSH|^~\\&|LIS\rMSA|AA\r")), "ack_malformed", False),
        (sending(b""), "connection_cut", False),
        (sending(b"\x0b"), "connection_cut", False),
        (sending(b"garbage without an end"), "connection_cut", False),
        (sending(framed(b"MSH|^~\\&|LIS\rMSA|AA|4711\r")[:-1]), "connection_cut", False),
        (mllp_receiver.cut, "connection_cut", False),
        (mllp_receiver.half_an_ack, "connection_cut", False),
        (mllp_receiver.endless, "ack_too_large", False),
        (sending(framed(b"MSH|" + b"x" * MAX_ACK_BYTES)), "ack_too_large", False),
    ],
)
def test_what_is_not_taken_is_told_by_a_code_and_final_where_the_message_is_at_fault(
    answer: object, code: str, is_final: bool
) -> None:
    with receiving(answer) as receiver:
        failed = failure(receiver.port)
        assert (failed.code, failed.is_final) == (code, is_final)
        assert receiver.messages == [MESSAGE]


@pytest.mark.parametrize("answer", [mllp_receiver.hang, mllp_receiver.drip])
def test_a_receiver_that_hangs_or_drips_holds_nobody(answer: object) -> None:
    with receiving(answer) as receiver:
        began = time.monotonic()
        assert failure(receiver.port, seconds=0.5).code == "answer_timeout"
        assert not receiver.released.is_set(), "the call ended while the receiver held on"
    assert time.monotonic() - began < 30


def test_nobody_listens() -> None:
    with receiving() as receiver:
        port = receiver.port
    assert failure(port).code == "connect_error"


def test_a_receiver_that_cuts_the_line_in_the_middle_of_the_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take_a_little() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)

        thread = threading.Thread(target=take_a_little)
        thread.start()
        large = MESSAGE + "NTE|2||" + "x" * 20_000_000 + "\r"
        assert failure(server.getsockname()[1], large).code == "connection_cut"
        thread.join(10)


def test_a_receiver_that_reads_nothing_holds_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        large = MESSAGE + "NTE|2||" + "x" * 20_000_000 + "\r"
        failed = failure(server.getsockname()[1], large, seconds=0.5)
        assert failed.code == "answer_timeout"


@pytest.mark.parametrize("character", ["\x0b", "\x1c"])
def test_a_message_that_would_break_its_frame_is_not_sent(character: str) -> None:
    with receiving() as receiver:
        failed = failure(receiver.port, f"{MESSAGE}NTE|2||{character}\r")
        assert (failed.code, failed.is_final) == ("message_unframeable", True)
        assert receiver.messages == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_over_tls_a_receiver_counts_only_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=lis"
    names = "subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", *make.split(), "-addext", names, *files], check=True, capture_output=True
    )
    with receiving(certificate=(certificate, key)) as receiver:
        assert failure(receiver.port, over_tls=True).code == "connect_error"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sent(receiver.port, over_tls=True)
        assert receiver.messages == [MESSAGE]


@pytest.mark.parametrize("separator", ["|", "$"])
@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
def test_an_acknowledgement_may_have_its_own_delimiters(separator: str, ending: str) -> None:
    text = ack(MESSAGE)[1:-2].decode().replace("|", separator).replace("\r", ending)
    check_acknowledged(text, CONTROL_ID)


@given(st.text(st.sampled_from("MSHARE|^~\\&\r\n4711 é"), max_size=60))
def test_no_text_is_an_acknowledgement_by_accident(text: str) -> None:
    with pytest.raises(CallFailedError):
        check_acknowledged(text, "another")
    with pytest.raises(CallFailedError):
        check_acknowledged(f"MSH|^~\\&|LIS\r{text}", "another")
