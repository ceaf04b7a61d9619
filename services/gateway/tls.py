"""TLS of what the gateway listens on: 1.2 or newer, with the ciphers that Python holds safe."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from prometheus_client import Gauge

from shared.errors import PermanentError

_CERTIFICATE_END = Gauge(
    "hemotriage_certificate_end_timestamp_seconds",
    "When a certificate that this process serves with ends, in seconds since the epoch.",
    ["certificate"],
)


class GatewayTlsError(PermanentError):
    """The files for TLS are no certificate with its key, or cannot be read."""

    code = "gateway_tls_invalid"


class _LateHandshake(ssl.SSLContext):
    """Shakes hands at the first reading, in the thread of that one connection.

    pynetdicom wraps a connection where it waits for the next: a peer that is silent would keep all
    others out.
    """

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **kwargs | {"do_handshake_on_connect": False})


def server_tls(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> ssl.SSLContext | None:
    """What a server speaks TLS with; None where no certificate is set.

    Args:
        certificate: PEM, with what leads from it to a root.
        key: PEM, without a password.
        client_ca: PEM of who vouches for clients; without it no client shows a certificate.

    Raises:
        GatewayTlsError: The files are not these, or only some of them are set.
    """
    if certificate is None:
        if key is not None or client_ca is not None:
            raise GatewayTlsError("There is no certificate.")
        return None
    context = _LateHandshake(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a password would be asked for at a terminal that is not there.
        context.load_cert_chain(certificate, key, password="")
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise GatewayTlsError(str(certificate)) from error
    _show_end(certificate)
    return context


def _show_end(certificate: Path) -> None:
    """Of the first one in the file, which is the server's own (RFC 8446, section 4.4.2)."""
    own = x509.load_pem_x509_certificate(certificate.read_bytes())
    _CERTIFICATE_END.labels(str(certificate)).set(own.not_valid_after_utc.timestamp())
