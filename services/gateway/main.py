"""Starts the gateway, for DICOM, HL7 orders or both: `python -m services.gateway.main`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import ExitStack

from services.gateway.keys import GatewayKey
from services.gateway.orders import OrderIntake
from services.gateway.scp import MAX_ASSOCIATIONS, Gateway, NoCallersError
from services.gateway.tls import server_tls
from shared.auth.hosts import parse_networks
from shared.db.session import Sessions, create_database, create_sessions
from shared.errors import HemotriageError
from shared.heartbeat import beat
from shared.interop.dicom.intake import DicomIntake
from shared.interop.hl7.listen import Limits, MllpListener
from shared.jobs.admission import Admission
from shared.jobs.outbox import Outbox
from shared.logging import configure_logging
from shared.metrics import serve_metrics
from shared.queue.app import create_celery
from shared.queue.send import CelerySender
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.telemetry.tracing import configure_tracing

_log = logging.getLogger(__name__)

_BEAT_SECONDS = 5.0


def create_intake(settings: Settings) -> DicomIntake:
    """What makes jobs, with connections for every association."""
    celery = create_celery(settings, answer_timeout=settings.connect_timeout_seconds)
    pool_size = MAX_ASSOCIATIONS + Limits.threads
    sessions = create_sessions(create_database(settings, pool_size=pool_size))
    return DicomIntake(
        settings=settings,
        sessions=sessions,
        storage=S3Store(settings, pool_size=MAX_ASSOCIATIONS),
        outbox=Outbox(sessions, CelerySender(celery)),
        admission=Admission(sessions, settings),
        registry=Catalogue(settings, sessions),
    )


def create_listener(
    settings: Settings, sessions: Sessions, *, limits: Limits | None = None
) -> MllpListener:
    """What takes HL7 orders; nothing listens yet.

    Raises:
        GatewayKeyError: Its orders would be nobody's.
        NoCallersError: Nobody may send.
        GatewayTlsError: TLS is set wrongly.
    """
    allowed = parse_networks(settings.hl7_allowed_hosts)
    if not allowed:
        raise NoCallersError("See HEMOTRIAGE_HL7_ALLOWED_HOSTS.")
    key = GatewayKey(sessions, settings.hl7_api_key_id, "HEMOTRIAGE_HL7_API_KEY_ID")
    key.now()
    tls = server_tls(settings.hl7_tls_certificate, settings.hl7_tls_key, settings.hl7_tls_client_ca)
    answer = OrderIntake(settings, sessions, key).answer
    return MllpListener(answer, allowed=allowed, tls=tls, limits=limits)


def main() -> int:
    """Serve until SIGTERM."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = Settings()
    configure_logging(settings.log_level, service="gateway")
    configure_tracing(settings, service="gateway")
    serve_metrics(settings)
    if not settings.dicom_port and not settings.hl7_port:
        _log.error("neither HEMOTRIAGE_DICOM_PORT nor HEMOTRIAGE_HL7_PORT is set")
        return 2
    with ExitStack() as running:
        try:
            listener = _start(settings, running)
        except HemotriageError as error:
            extra = {"code": error.code, "detail": str(error)}
            _log.error("the gateway cannot start", extra=extra)
            return 1
        return watch(stopping, listener)


def watch(stopping: threading.Event, listener: MllpListener | None) -> int:
    """Say that the process is alive until it is to stop; returns its exit code.

    A listener that has ended ends the process, so that whoever watches it starts it anew.
    """
    while not stopping.is_set():
        if listener is not None and not listener.is_listening:
            _log.error("nothing listens for HL7 any more")
            return 1
        beat("gateway")
        stopping.wait(_BEAT_SECONDS)
    return 0


def _start(settings: Settings, running: ExitStack) -> MllpListener | None:
    """Start what has a port; each is closed with `running`. Returns the listener of HL7."""
    intake = create_intake(settings)
    if settings.dicom_port:
        gateway = Gateway(intake)
        gateway.start()
        running.callback(gateway.close)
    if not settings.hl7_port:
        return None
    listener = create_listener(settings, intake.sessions)
    listener.start(settings.hl7_host, settings.hl7_port)
    running.callback(listener.close)
    return listener


if __name__ == "__main__":
    sys.exit(main())
