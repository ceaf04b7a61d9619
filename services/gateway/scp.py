"""The service class provider: C-ECHO and C-STORE (PS3.4, annexes A and B)."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, BinaryIO

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.callers import Callers
from shared.auth.keys import ApiKey, Scope, list_keys, refuse_ended
from shared.errors import ForbiddenError, HemotriageError, PermanentError, UnauthorizedError
from shared.interop.dicom.frames import SOP_CLASSES, TRANSFER_SYNTAXES, uploads_of
from shared.interop.dicom.intake import DicomIntake
from shared.interop.dicom.read import read_instance
from shared.interop.dicom.stow import OUT_OF_RESOURCES, failure_reason
from shared.outage import is_outage

_log = logging.getLogger(__name__)

SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124  # PS3.7, annex C.5.9
CANNOT_PROCESS = 0xC000

MAX_PDU_BYTES = 64 * 1024
MAX_ASSOCIATIONS = 10
ACSE_SECONDS = 10.0
DIMSE_SECONDS = 30.0
IDLE_SECONDS = 60.0

# An instance is received into a file, not into memory.
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"


class GatewayKeyError(UnauthorizedError):
    """`HEMOTRIAGE_DICOM_API_KEY_ID` names no key that may submit."""

    code = "gateway_key_invalid"


class NoCallersError(PermanentError):
    """`HEMOTRIAGE_DICOM_CALLING_AES` names nobody who may send."""

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
        self._callers = Callers.parse(self._settings.dicom_calling_aes)
        self._places = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._received: dict[Any, int] = {}
        self._server: Any = None

    def start(self) -> int:
        """Listen; returns the port.

        Raises:
            GatewayKeyError: Its jobs would be nobody's.
            NoCallersError: Nobody may send.
            OSError: The address is in use.
        """
        if not self._callers.titles:
            raise NoCallersError
        self.key()
        entity = AE(ae_title=self._settings.dicom_ae_title)
        entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        entity.require_called_aet = True
        entity.require_calling_aet = self._callers.titles
        entity.maximum_associations = MAX_ASSOCIATIONS
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.acse_timeout, entity.dimse_timeout = ACSE_SECONDS, DIMSE_SECONDS
        entity.network_timeout = IDLE_SECONDS
        handlers: list[Any] = [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_DATA_RECV, self._bounded),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_C_STORE, self._store),
        ]
        address = (self._settings.dicom_host, self._settings.dicom_port)
        self._server = entity.start_server(address, block=False, evt_handlers=handlers)
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Listen no more, and end what associations there are."""
        self._server.shutdown()

    def key(self) -> ApiKey:
        """The key whose jobs these are, as it is now.

        Raises:
            GatewayKeyError: There is none, or it lacks the scope.
            UnauthorizedError: It was revoked, or has expired.
        """
        wanted = self._settings.dicom_api_key_id
        for key in list_keys(self._intake.sessions):
            if key.id == wanted and Scope.SUBMIT in key.scopes:
                refuse_ended(key)
                return key
        raise GatewayKeyError

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

    def _closed(self, event: evt.Event) -> None:
        self._received.pop(event.assoc, None)

    def _store(self, event: evt.Event) -> int:
        """Make a job of an instance; its status says whether that is committed."""
        self._received[event.assoc] = 0
        try:
            with event.dataset_path.open("rb") as stream:
                job_id = self._accept(stream)
        except (UnauthorizedError, ForbiddenError) as error:
            return _refused(error.code, NOT_AUTHORISED)
        except HemotriageError as error:
            return _refused(error.code, failure_reason(error))
        except (SQLAlchemyError, OSError) as error:
            status = OUT_OF_RESOURCES if is_outage(error) or isinstance(error, OSError) else None
            return _refused(type(error).__name__, status or CANNOT_PROCESS)
        except Exception as error:  # an association must get its answer, whatever went wrong
            _log.exception("instance not taken")
            return _refused(type(error).__name__, CANNOT_PROCESS)
        _log.info("instance taken", extra={"job_id": job_id})
        return SUCCESS

    def _accept(self, stream: BinaryIO) -> str:
        key = self.key()
        with self._places:
            instance = read_instance(stream, self._settings)
            uploads = uploads_of(instance, self._settings)
        return str(self._intake.accept(key, [instance], uploads).job.id)


def _refused(code: str, status: int) -> int:
    _log.warning("instance refused", extra={"code": code, "status": f"{status:04X}"})
    return status
