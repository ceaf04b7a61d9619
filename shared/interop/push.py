"""Sends a result to a destination in the form that is spoken there."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import TypeVar

from shared.auth.tenants import EVERY_TENANT
from shared.db.session import Sessions
from shared.errors import PermanentError
from shared.interop.hl7 import mllp
from shared.interop.hl7.oru import control_id_of, oru_r01
from shared.interop.sources import read_sources
from shared.jobs.queries import get_job
from shared.orders.fill import order_of
from shared.settings import Settings
from shared.webhooks.call import CallFailedError
from shared.webhooks.credentials import authorization_for, parse_credentials
from shared.webhooks.deliver import Delivery, push_nowhere
from shared.webhooks.destinations import Destination, Kind, parse_destinations

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Pushes:
    """The push of a relay, see `shared.webhooks.deliver.Push`."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        """Of the settings: destinations, credentials, and how long a call may take."""
        self._sessions = sessions
        self._destinations = parse_destinations(settings.result_destinations)
        self._credentials = parse_credentials(settings.result_credentials.get_secret_value())
        self._calling_ae = settings.dicom_ae_title
        self._limits = {
            "connect_seconds": settings.connect_timeout_seconds,
            "answer_seconds": settings.answer_timeout_seconds,
        }

    def __call__(self, delivery: Delivery) -> None:
        """Send the result of a delivery's job.

        Raises:
            CallFailedError: `destination_removed`: the operator's list no longer has it.
                `message_unbuildable`: the result cannot be told in this form. Both are final.
                Else as in `shared.interop.hl7.mllp` and `shared.interop.dicom.send`.
        """
        destination = self._destinations.get(delivery.url)
        if destination is None:
            push_nowhere(delivery)
        elif destination.kind is Kind.MLLP:
            self._send_hl7(destination, delivery)
        else:
            self._send_dicom(destination, delivery)

    def _send_hl7(self, destination: Destination, delivery: Delivery) -> None:
        job = get_job(self._sessions, delivery.job_id, tenant=EVERY_TENANT)
        control_id = control_id_of(delivery.event_id)
        order = order_of(self._sessions, job.accession_number, tenant=job.tenant)
        message = _built(lambda: oru_r01(job, control_id=control_id, order=order))
        over_tls = destination.is_secure
        ack = mllp.send(
            destination.host, destination.port, message, over_tls=over_tls, **self._limits
        )
        mllp.check_acknowledged(ack, control_id)

    def _send_dicom(self, destination: Destination, delivery: Delivery) -> None:
        # These take a second and much memory to import: only a relay that needs them pays for it.
        report = importlib.import_module("shared.interop.dicom.report")
        sending = importlib.import_module("shared.interop.dicom.send")
        job = get_job(self._sessions, delivery.job_id, tenant=EVERY_TENANT)
        sources = read_sources(self._sessions, delivery.job_id)
        file = _built(lambda: report.structured_report(job, sources))
        if destination.kind is Kind.STOW:
            authorization = authorization_for(destination, self._credentials)
            sending.stow(destination, file, authorization=authorization, **self._limits)
        else:
            sending.c_store(destination, file, calling_ae=self._calling_ae, **self._limits)


def _built(build: Callable[[], T]) -> T:
    """Build a message; what goes wrong is told by its type, since its text may hold anything."""
    try:
        return build()
    except Exception as error:
        if not isinstance(error, PermanentError):
            _log.error("a result cannot be told", extra={"error": type(error).__name__})
        raise CallFailedError("message_unbuildable", is_final=True) from None
