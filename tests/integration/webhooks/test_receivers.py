"""Receivers that misbehave: none holds up a relay or leads it elsewhere."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from shared.webhooks import call
from tests.integration.webhooks.events import (
    attempt,
    make_due,
    read,
    receiving,
)
from tests.receiver import Receiver, cut, drip, endless_body, hang, redirect_to


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(sessions, calling, receiver, end, status: int) -> None:
    with receiving(redirect_to(receiver.url, status)) as redirecting:
        event_id = end(redirecting.url)
        attempt(sessions, calling)
    assert receiver.calls == []
    assert len(redirecting.calls) == 1
    assert read(sessions, event_id).last_error == f"status_{status}"
    assert read(sessions, event_id).next_attempt_at is not None


def test_a_receiver_that_is_gone_for_good_is_not_called_again(sessions, calling, end) -> None:
    with receiving(410) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, calling)
    event = read(sessions, event_id)
    assert (event.next_attempt_at, event.delivered_at) == (None, None)
    assert (event.attempts, event.last_error) == (1, "status_410")


def test_a_receiver_that_is_down_is_tried_again(sessions, calling, end) -> None:
    with receiving() as receiver:
        event_id = end(receiver.url)
    attempt(sessions, calling)
    event = read(sessions, event_id)
    assert event.last_error == "connect_error"
    assert event.next_attempt_at is not None


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        (hang, {"read_timeout", "call_timeout"}),
        (drip, {"call_timeout"}),
        (cut, {"remote_protocol_error", "read_error"}),
    ],
)
def test_a_receiver_that_hangs_or_drips_or_cuts_holds_nobody(
    sessions, calling, end, answer: object, errors: set[str]
) -> None:
    short = calling.model_copy(
        update={"connect_timeout_seconds": 1.0, "answer_timeout_seconds": 1.0}
    )
    with receiving(answer) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, short)
        assert not receiver.released.is_set(), "the call ended while the receiver held on"
    event = read(sessions, event_id)
    assert event.last_error in errors
    assert event.next_attempt_at is not None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_only_takes_connections_holds_nobody(
    sessions, calling, end, scheme: str
) -> None:
    short = calling.model_copy(
        update={"connect_timeout_seconds": 1.0, "answer_timeout_seconds": 1.0}
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        event_id = end(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/")
        attempt(sessions, short)
    assert read(sessions, event_id).last_error in {
        "connect_timeout",
        "read_timeout",
        "call_timeout",
    }


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_counts_only_if_it_is_trusted(
    sessions, calling, end, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=receiver"
    names = "subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *make.split(), "-addext", names, *files], check=True)
    receiver = Receiver(certificate=(certificate, key))
    try:
        event_id = end(receiver.url)
        for trusted, last_error in ((tmp_path / "none.pem", "connect_error"), (certificate, None)):
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            call._tls.cache_clear()
            attempt(sessions, calling)
            event = read(sessions, event_id)
            assert (event.last_error, len(receiver.calls)) == (last_error, event.attempts - 1)
            make_due(sessions, event_id, delivered_at=None)
    finally:
        receiver.close()
        call._tls.cache_clear()


def test_the_body_of_an_answer_is_not_read(sessions, calling, end) -> None:
    with receiving(endless_body) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, calling)
    assert read(sessions, event_id).delivered_at is not None
