"""A receiver of HL7 messages: a real MLLP server that answers as it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

START, END = b"\x0b", b"\x1c\r"

Answer = str | Callable[["MllpReceiver", socket.socket, str], None]


def control_id_of(message: str) -> str:
    return message.split("\r", maxsplit=1)[0].split("|")[9]


def ack(message: str, code: str = "AA", *more: str, control_id: str | None = None) -> bytes:
    """An acknowledgement in a frame; `more` are segments after MSA."""
    segments = (
        "MSH|^~\\&|LIS|LAB|HEMOTRIAGE||20260101||ACK^R01^ACK|1|P|2.5.1",
        f"MSA|{code}|{control_id_of(message) if control_id is None else control_id}",
        *more,
    )
    return framed("".join(f"{segment}\r" for segment in segments).encode())


def framed(data: bytes) -> bytes:
    return START + data + END


class MllpReceiver:
    """Gives its answers one after the other, then AA; over TLS if it has a certificate.

    An answer is a code of an acknowledgement, or does with the connection what it likes.
    """

    def __init__(self, *answers: Answer, certificate: tuple[Path, Path] | None = None) -> None:
        self.answers = list(answers)
        self.messages: list[str] = []
        self.released = threading.Event()
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.getsockname()[1]

    @property
    def url(self) -> str:
        return f"mllp{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.released.set()
        # A thread in accept() is not woken by close() alone.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            taken = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with taken:
                message = self._read(taken)
                if message is None:
                    return
                self.messages.append(message)
                answer = self.answers.pop(0) if self.answers else "AA"
                if callable(answer):
                    answer(self, taken, message)
                else:
                    taken.sendall(ack(message, answer))

    @staticmethod
    def _read(connection: socket.socket) -> str | None:
        data = b""
        while not data.endswith(END):
            chunk = connection.recv(65536)
            if not chunk:
                return None
            data += chunk
        assert data.startswith(START)
        return data[len(START) : -len(END)].decode()


def sending(data: bytes) -> Answer:
    """Answer with these bytes, then close."""

    def answer(_: MllpReceiver, connection: socket.socket, __: str) -> None:
        connection.sendall(data)

    return answer


def acking(code: str, *more: str, control_id: str | None = None) -> Answer:
    """Acknowledge with a code and more segments, or another message's control id."""

    def answer(_: MllpReceiver, connection: socket.socket, message: str) -> None:
        connection.sendall(ack(message, code, *more, control_id=control_id))

    return answer


def cut(_: MllpReceiver, connection: socket.socket, __: str) -> None:
    """Close the connection without an answer."""
    connection.shutdown(socket.SHUT_RDWR)


def half_an_ack(_: MllpReceiver, connection: socket.socket, message: str) -> None:
    """Close the connection in the middle of the answer."""
    data = ack(message)
    connection.sendall(data[: len(data) // 2])


def hang(receiver: MllpReceiver, _: socket.socket, __: str) -> None:
    """Take the message and never answer."""
    receiver.released.wait(60)


def drip(receiver: MllpReceiver, connection: socket.socket, message: str) -> None:
    """Acknowledge, a byte in a while."""
    for byte in ack(message):
        if receiver.released.wait(0.1):
            return
        connection.sendall(bytes([byte]))


def endless(receiver: MllpReceiver, connection: socket.socket, _: str) -> None:
    """Begin an acknowledgement that never ends."""
    connection.sendall(START)
    while not receiver.released.is_set():
        connection.sendall(b"x" * 4096)
