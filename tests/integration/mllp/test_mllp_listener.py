"""Whatever senders do to their connections, what is acknowledged is there, and others are heard."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from services.gateway.keys import GatewayKeyError
from services.gateway.main import create_listener, watch
from services.gateway.scp import NoCallersError
from services.gateway.tls import GatewayTlsError
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import OrderRow
from shared.interop.hl7.listen import Limits
from shared.local.ports import HOST, free_ports
from shared.orders.queries import find_order
from shared.settings import Settings
from tests.certificates import make_certificate, needs_openssl
from tests.hl7_orders import fields, placed
from tests.integration.jobs import count
from tests.mllp_receiver import END, START, framed
from tests.mllp_sender import Sender, told
from tests.waiting import eventually

SHORT = Limits(
    message_bytes=4096,
    connections=3,
    threads=2,
    handshake_seconds=1.0,
    idle_seconds=1.0,
    message_seconds=0.5,
    answer_seconds=1.0,
)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"hl7_api_key_id": "none"}, GatewayKeyError),
        ({"hl7_allowed_hosts": ""}, NoCallersError),
        ({"hl7_tls_key": Path("/nowhere/key.pem")}, GatewayTlsError),
        ({"hl7_tls_certificate": Path("/nowhere/certificate.pem")}, GatewayTlsError),
    ],
    ids=["key", "nobody", "key without certificate", "no certificate"],
)
def test_a_listener_that_is_told_wrongly_does_not_start(listen, changes, error) -> None:
    with pytest.raises(error):
        listen(**changes)


def test_strangers_are_cut_off(listen, sessions) -> None:
    with Sender(listen(hl7_allowed_hosts="192.0.2.1")) as sender:
        with suppress(ConnectionError):
            sender.socket.sendall(framed(placed("ACC-1").encode()))
        assert sender.read() == ""
    assert count(sessions, OrderRow) == 0


def test_messages_of_a_connection_are_answered_in_turn_however_they_are_cut(port: int) -> None:
    with Sender(port) as sender:
        both = framed(placed("A", id="1").encode()) + framed(placed("B", id="2").encode())
        third = framed(placed("C", id="3").encode())
        sender.socket.sendall(both + third[:40])
        assert [fields(sender.read(), "MSA")[2] for _ in range(2)] == ["1", "2"]
        sender.socket.sendall(third[40:-1])
        sender.socket.sendall(third[-1:])
        assert fields(sender.read(), "MSA")[1:3] == ["AA", "3"]


@pytest.mark.parametrize(
    "noise",
    [b"\r\n\0", b"half a message\x1c\r", START + b"MSH|^~\\&|begun again", END],
    ids=["before", "without a start", "begun again", "an end alone"],
)
def test_noise_before_a_message_is_passed_over(port: int, noise: bytes) -> None:
    with Sender(port) as sender:
        sender.socket.sendall(noise + framed(placed("A").encode()))
        assert told(sender.read())[0] == "AA"


def test_what_is_no_message_is_answered_too(port: int) -> None:
    with Sender(port) as sender:
        assert told(sender.send("GET / HTTP/1.1")) == ("AE", "100")
        assert told(sender.send(placed("A")))[0] == "AA"


def test_a_message_that_is_too_large_ends_the_connection(listen, sessions) -> None:
    port = listen(SHORT)
    with Sender(port) as sender:
        with suppress(ConnectionError):
            sender.socket.sendall(framed(placed("A", id="x" * 20_000).encode()))
        assert sender.read() == ""
    with Sender(port) as sender:
        assert told(sender.send(placed("A")))[0] == "AA"
    assert count(sessions, OrderRow) == 1


def test_a_message_that_drips_ends_the_connection_and_holds_up_nobody(listen) -> None:
    port = listen(SHORT)
    with Sender(port) as dripping, Sender(port) as other:
        dripping.socket.sendall(START)
        assert told(other.send(placed("A")))[0] == "AA"
        data = iter(placed("B").encode())

        def drip() -> bool:
            with suppress(ConnectionError):
                dripping.socket.send(bytes([next(data)]))
                return False
            return True

        eventually(drip, 10)
        assert dripping.read() == ""


def test_a_silent_connection_is_ended(listen) -> None:
    with Sender(listen(SHORT)) as sender:
        assert sender.read() == ""


def test_a_message_that_is_cut_changes_nothing_and_the_next_is_taken(port: int, sessions) -> None:
    data = framed(placed("A").encode())
    for length in (1, 30, len(data) - 2, len(data) - 1):
        with Sender(port) as sender:
            sender.socket.sendall(data[:length])
    with Sender(port) as sender:
        assert told(sender.send(placed("B")))[0] == "AA"
    with sessions() as session:
        assert list(session.scalars(select(OrderRow.accession_number))) == ["B"]


def test_a_sender_that_leaves_before_its_answer_has_its_order_once(port: int, sessions) -> None:
    with Sender(port) as sender:
        sender.socket.sendall(framed(placed("A").encode()))
    eventually(lambda: count(sessions, OrderRow) == 1, 10)
    with Sender(port) as sender:
        assert told(sender.send(placed("A")))[0] == "AA"
    assert count(sessions, OrderRow) == 1


def test_more_connections_than_there_are_places_are_ended(listen) -> None:
    port = listen(Limits(connections=2))
    with Sender(port) as first, Sender(port) as second:
        assert [told(each.send(placed("A")))[0] for each in (first, second)] == ["AA", "AA"]
        with Sender(port) as third:
            assert third.read() == ""
        assert told(first.send(placed("A")))[0] == "AA"
    eventually(lambda: _answers(port), 10)


def _answers(port: int) -> bool:
    with Sender(port) as sender:
        try:
            return bool(sender.send(placed("A")))
        except ConnectionError:
            return False


def test_many_senders_at_once_lose_and_double_nothing(port: int, sessions) -> None:
    def send(at: int) -> None:
        with Sender(port) as sender:
            # All place the same two besides their own, in either order.
            shared = ("X", "Y") if at % 2 else ("Y", "X")
            answers.append(told(sender.send(placed(f"A-{at}", *shared, id=str(at))))[0])

    answers: list[str] = []
    threads = [threading.Thread(target=send, args=(at,)) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == ["AA"] * 12
    assert count(sessions, OrderRow) == 14


@needs_openssl
def test_over_tls_only_who_shows_a_certificate_is_heard(listen, tmp_path: Path) -> None:
    server, client = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "client")
    files = {"hl7_tls_certificate": server.file, "hl7_tls_key": server.key}
    port = listen(SHORT, **files, hl7_tls_client_ca=client.file)
    trusting = ssl.create_default_context(cafile=server.file)
    with pytest.raises(OSError), Sender(port, trusting) as sender:
        assert sender.send(placed("A")) == ""
        raise ConnectionError
    trusting.load_cert_chain(client.file, client.key)
    with Sender(port, trusting) as sender:
        assert told(sender.send(placed("A")))[0] == "AA"
    with Sender(port) as plain:
        assert plain.read() == ""


def test_a_gateway_whose_listener_has_ended_ends_too(told_settings: Settings, sessions) -> None:
    listener = create_listener(told_settings, sessions)
    listener.start(HOST, 0)
    assert listener.is_listening
    listener.close()
    listener.close()
    assert watch(threading.Event(), listener) == 1


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_was_acknowledged_outlives_the_gateway(told_settings: Settings, sessions) -> None:
    (port,) = free_ports(1)
    environment = {
        f"HEMOTRIAGE_{name.upper()}": value.get_secret_value()
        if hasattr(value, "get_secret_value")
        else str(value)
        for name, value in told_settings.model_dump().items()
        if value is not None
    }
    command = [sys.executable, "-m", "services.gateway.main"]
    for at in range(3):
        gateway = subprocess.Popen(
            command, env={**os.environ, **environment, "HEMOTRIAGE_HL7_PORT": str(port)}
        )
        acknowledged = []
        try:
            eventually(lambda: not _is_closed(port), 60)
            with Sender(port) as sender:
                for number in (f"{at}-{one}" for one in range(50)):
                    assert told(sender.send(placed(number)))[0] == "AA"
                    acknowledged.append(number)
                    if len(acknowledged) == 20:
                        sender.socket.sendall(framed(placed(f"{at}-last").encode()))
                        gateway.send_signal(signal.SIGKILL)
                        break
        finally:
            gateway.kill()
            gateway.wait(20)
        assert [
            each
            for each in acknowledged
            if find_order(sessions, each, tenant=DEFAULT_TENANT) is None
        ] == []
    assert count(sessions, OrderRow) in range(60, 64)


def _is_closed(port: int) -> bool:
    with suppress(ConnectionError), socket.create_connection((HOST, port), timeout=1):
        return False
    return True
