"""The service class provider: C-ECHO, C-STORE and the worklist (PS3.4, annexes A, B and K)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ModalityWorklistInformationFind,
    Verification,
)

from services.gateway.callers import Callers
from services.gateway.keys import GatewayKey
from services.gateway.status import SUCCESS, refused
from services.gateway.tls import server_tls
from services.gateway.worklist import Worklist
from shared.decoding_places import decoding_places
from shared.errors import PermanentError
from shared.interop.dicom.frames import SOP_CLASSES, TRANSFER_SYNTAXES, uploads_of
from shared.interop.dicom.intake import DicomIntake
from shared.interop.dicom.read import Inflation, read_instance
from shared.telemetry.about import about, new_request_id
from shared.telemetry.tracing import Kind, span

_log = logging.getLogger(__name__)

MAX_PDU_BYTES = 64 * 1024
MAX_ASSOCIATIONS = 10
MAX_CONNECTIONS = 3 * MAX_ASSOCIATIONS
"""Besides associations, those that are still to ask for one or are to be told of a refusal."""
ACSE_SECONDS = 10.0
DIMSE_SECONDS = 30.0
IDLE_SECONDS = 60.0

MAX_PDU_RECEIVED = 1024**2
"""Of a peer that sends more at once than `MAX_PDU_BYTES`, which it was told."""
MAX_QUERY_BYTES = 1024**2
_QUERY_SYNTAXES = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)
"""None that is deflated: pynetdicom would inflate a query in memory, whatever its size."""

_config.LOG_REQUEST_IDENTIFIERS = False
# An instance is received into a file, not into memory.
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"


class NoCallersError(PermanentError):
    """Nobody may send to the gateway."""

    code = "gateway_without_callers"


class Gateway:
    """Listens, and makes a job of each instance; what it answers with success is committed."""

    def __init__(self, intake: DicomIntake) -> None:
        """Prepare; nothing listens yet.

        Args:
            intake: Makes the jobs; its settings say where to listen and for whom.
        """
        self._intake = intake
        self._settings = intake.settings
        self._key = GatewayKey(
            intake.sessions, self._settings.dicom_api_key_id, "HEMOTRIAGE_DICOM_API_KEY_ID"
        )
        self._worklist = Worklist(intake.sessions, self._key)
        self._callers = Callers.parse(self._settings.dicom_calling_aes)
        self._places = decoding_places(self._settings.max_pixels)
        self._received: dict[Any, int] = {}
        self._server: Any = None

    def start(self) -> int:
        """Listen; returns the port.

        Raises:
            GatewayKeyError: Its jobs would be nobody's.
            NoCallersError: Nobody may send.
            GatewayTlsError: TLS is set wrongly.
            OSError: The address is in use.
        """
        if not self._callers.titles:
            raise NoCallersError("See HEMOTRIAGE_DICOM_CALLING_AES.")
        self._key.now()
        settings = self._settings
        tls = server_tls(
            settings.dicom_tls_certificate, settings.dicom_tls_key, settings.dicom_tls_client_ca
        )
        address = (settings.dicom_host, settings.dicom_port)
        self._server = self._entity().start_server(
            address, block=False, ssl_context=tls, evt_handlers=self._handlers()
        )
        # Before a connection has threads of its own.
        self._server.verify_request = self._may_connect
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Listen no more, and end what associations there are."""
        self._server.shutdown()

    def _entity(self) -> AE:
        entity = AE(ae_title=self._settings.dicom_ae_title)
        entity.add_supported_context(Verification)
        entity.add_supported_context(ModalityWorklistInformationFind, list(_QUERY_SYNTAXES))
        for sop_class in SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        entity.require_called_aet = True
        entity.require_calling_aet = self._callers.titles
        entity.maximum_associations = MAX_ASSOCIATIONS
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.acse_timeout, entity.dimse_timeout = ACSE_SECONDS, DIMSE_SECONDS
        entity.network_timeout = IDLE_SECONDS
        return entity

    def _may_connect(self, _: object, client: tuple[str, int]) -> bool:
        """Strangers, and whoever only connects, are to take nobody's place."""
        if not self._callers.may_connect(client[0]):
            _log.warning("connection from another address", extra={"address": client[0]})
            return False
        return len(self._server.active_associations) < MAX_CONNECTIONS

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_DATA_RECV, self._bounded),
            (evt.EVT_PDU_RECV, self._bounded_query),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
        ]

    def _opened(self, event: evt.Event) -> None:
        """A peer that falls silent within a PDU, or a TLS handshake, holds its place no longer."""
        connection: Any = event.assoc.dul.socket
        connection.socket.settimeout(IDLE_SECONDS)
        connection.recv = partial(_read_bounded, connection.recv)

    def _accepted(self, event: evt.Event) -> None:
        requestor = event.assoc.requestor
        if not self._callers.allow(requestor.ae_title, requestor.address):
            _log.warning("association from another address")
            event.assoc.abort()

    def _bounded(self, event: evt.Event) -> None:
        """End an association that sends more than an instance may have."""
        received = self._received.get(event.assoc, 0) + len(event.data)
        self._received[event.assoc] = received
        if received > self._settings.max_request_bytes:
            _log.warning("instance too large")
            event.assoc.abort()

    def _bounded_query(self, event: evt.Event) -> None:
        """End an association whose query, which is held in memory, goes on and on."""
        if self._received.get(event.assoc, 0) > MAX_QUERY_BYTES and _is_of_query(event):
            _log.warning("query too large")
            event.assoc.abort()

    def _closed(self, event: evt.Event) -> None:
        self._received.pop(event.assoc, None)

    def _echo(self, event: evt.Event) -> int:
        self._received[event.assoc] = 0
        return SUCCESS

    def _store(self, event: evt.Event) -> int:
        """Make a job of an instance; its status says whether that is committed."""
        self._received[event.assoc] = 0
        with about(request_id=new_request_id()), span("C-STORE", kind=Kind.SERVER) as taking:
            try:
                with event.dataset_path.open("rb") as stream:
                    job_id = self._accept(stream, event.assoc.requestor.address)
            except Exception as error:  # an association must get its answer, whatever went wrong
                status = refused(error)
                taking.fail(f"{status:04X}")
                return status
            _log.info("instance taken", extra={"job_id": job_id})
            return SUCCESS

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self._received[event.assoc] = 0
        with about(request_id=new_request_id()):
            yield from self._worklist.find(event)

    def _accept(self, stream: BinaryIO, address: str) -> str:
        key = self._key.used_from(address)
        with self._places:
            inflation = Inflation(self._settings.max_request_bytes)
            instance = read_instance(stream, self._settings, inflation)
            uploads = uploads_of(instance, self._settings)
        return str(self._intake.accept(key, [instance], uploads).job.id)


def _read_bounded(recv: Callable[[int], bytearray], size: int) -> bytearray:
    """What a peer sends next; pynetdicom would gather up to 4 GiB, as much as a PDU says it has."""
    if size > MAX_PDU_RECEIVED:
        raise ConnectionAbortedError(f"a PDU of {size} bytes")
    return recv(size)


def _is_of_query(event: evt.Event) -> bool:
    """Whether a PDU has a part of a C-FIND."""
    if not isinstance(event.pdu, P_DATA_TF):
        return False
    asked = {
        accepted.context_id
        for accepted in event.assoc.accepted_contexts
        if accepted.abstract_syntax == ModalityWorklistInformationFind
    }
    return any(item.context_id in asked for item in event.pdu.presentation_data_value_items)
