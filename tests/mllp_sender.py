"""A sender of HL7 messages over MLLP, which keeps its connection."""

from __future__ import annotations

import socket
import ssl

from shared.local.ports import HOST
from tests.hl7_orders import fields
from tests.mllp_receiver import END, START, framed


class Sender:
    """A system that keeps one connection."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection((HOST, port), timeout=20)
        self.socket = tls.wrap_socket(plain, server_hostname=HOST) if tls else plain
        self._rest = b""

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, text: str) -> str:
        self.socket.sendall(framed(text.encode()))
        return self.read()

    def read(self) -> str:
        """The next acknowledgement; empty once the other side has ended the connection."""
        while END not in self._rest:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return ""
            self._rest += data
        frame, self._rest = self._rest.split(END, 1)
        assert frame.startswith(START)
        return frame[1:].decode()


def told(answer: str) -> tuple[str, str]:
    """MSA-1, and the code of ERR-3."""
    err = fields(answer, "ERR")
    return fields(answer, "MSA")[1], err[3].split("^")[0] if err else ""
