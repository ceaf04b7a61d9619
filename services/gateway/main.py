"""Starts the DICOM gateway: `python -m services.gateway.main`."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from services.gateway.scp import MAX_ASSOCIATIONS, Gateway
from shared.db.session import create_database, create_sessions
from shared.errors import HemotriageError
from shared.heartbeat import beat
from shared.interop.dicom.intake import DicomIntake
from shared.jobs.admission import Admission
from shared.jobs.outbox import Outbox
from shared.logging import configure_logging
from shared.queue.app import create_celery
from shared.queue.send import CelerySender
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store

_log = logging.getLogger(__name__)

_BEAT_SECONDS = 5.0


def create_intake(settings: Settings) -> DicomIntake:
    """What makes jobs, with connections for every association."""
    celery = create_celery(settings, answer_timeout=settings.connect_timeout_seconds)
    sessions = create_sessions(create_database(settings, pool_size=MAX_ASSOCIATIONS))
    return DicomIntake(
        settings=settings,
        sessions=sessions,
        storage=S3Store(settings, pool_size=MAX_ASSOCIATIONS),
        outbox=Outbox(sessions, CelerySender(celery)),
        admission=Admission(sessions, settings),
        registry=Catalogue(settings, sessions),
    )


def main() -> int:
    """Serve until SIGTERM."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = Settings()
    configure_logging(settings.log_level, service="gateway")
    if not settings.dicom_port:
        _log.error("HEMOTRIAGE_DICOM_PORT is not set")
        return 2
    gateway = Gateway(create_intake(settings))
    try:
        gateway.start()
    except HemotriageError as error:
        _log.error("the gateway cannot start", extra={"code": error.code, "detail": str(error)})
        return 1
    while not stopping.is_set():
        beat("gateway")
        stopping.wait(_BEAT_SECONDS)
    gateway.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
