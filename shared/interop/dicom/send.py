"""Sends a DICOM file to an archive: STOW-RS over HTTP, or C-STORE as a service class user."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import ssl
import threading
import uuid
from contextlib import suppress
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from shared.webhooks.call import CallFailedError
from shared.webhooks.destinations import Destination

MAX_ANSWER_BYTES = 64 * 1024

_DUPLICATE = 0x0111  # DICOM PS3.7 section C.4.2: the archive has it from an attempt before
_NOT_SUPPORTED = 0x0122  # the same: no objects of this SOP class are taken
_FAILED_SEQUENCE, _FAILURE_REASON = "00081198", "00081197"


def stow(
    destination: Destination,
    file: bytes,
    *,
    authorization: str | None = None,
    connect_seconds: float,
    answer_seconds: float,
) -> None:
    """Store a DICOM file by STOW-RS (DICOM PS3.18 section 10.5).

    Args:
        destination: Where to; the file is posted to its path and `/studies`.
        file: One instance.
        authorization: The header of that name (RFC 9110, section 11.6.2), if there is one.
        connect_seconds: Longest wait for a connection.
        answer_seconds: Longest wait for the answer; both together bound the whole call.

    Raises:
        CallFailedError: `connect_error`, `connect_timeout`, `call_timeout` and other names of what
            the connection met; `status_NNN`, an HTTP status; `answer_malformed`,
            `answer_too_large`; `dicom_HHHH` as in `check_stored`.
    """
    limit = connect_seconds + answer_seconds
    own = {"Authorization": authorization} if authorization else {}
    timeout = httpx.Timeout(answer_seconds, connect=connect_seconds)
    try:
        status, answer = asyncio.run(_posted(destination, file, own, timeout, limit))
    except TimeoutError as error:
        raise CallFailedError("call_timeout") from error
    except httpx.TransportError as error:
        raise CallFailedError.of(error) from error
    if status not in (200, 202, 409):
        raise CallFailedError(f"status_{status}")
    # 200: all was stored. 202: some was, or with warnings; 409: nothing was (table 10.5.3-1).
    failures = _failures(answer) if status != 200 else []
    for failure in failures:
        check_stored(failure)
    if status == 409 and not failures:
        raise CallFailedError("status_409")


def c_store(
    destination: Destination,
    file: bytes,
    *,
    calling_ae: str,
    connect_seconds: float,
    answer_seconds: float,
) -> None:
    """Store a DICOM file by C-STORE (DICOM PS3.4 annex B), in an association of its own.

    Args:
        destination: The archive and the title of its application entity.
        file: One instance; offered as explicit and as implicit VR little endian.
        calling_ae: The title of our application entity.
        connect_seconds: Longest wait for a connection.
        answer_seconds: Longest time for all that follows; then the association is cut.

    Raises:
        CallFailedError: `connect_error`, `association_rejected`, `context_rejected`,
            `connection_cut` or `dicom_HHHH` as in `check_stored`.
    """
    dataset = dcmread(io.BytesIO(file))
    entity = AE(ae_title=calling_ae)
    entity.connection_timeout = connect_seconds
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = answer_seconds
    entity.add_requested_context(
        dataset.SOPClassUID, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    )
    overdue: list[threading.Timer] = []

    def limit(opened: evt.Event) -> None:
        # The library's own limits do not end the reading of a message that drips in.
        overdue.append(threading.Timer(answer_seconds, _cut, [opened.assoc]))
        overdue[-1].start()

    association = entity.associate(
        destination.host,
        destination.port,
        ae_title=destination.called_ae,
        evt_handlers=[(evt.EVT_CONN_OPEN, limit)],
    )
    try:
        if not association.is_established:
            raise CallFailedError(_refusal(association))
        status = association.send_c_store(dataset)
        if association.is_established:
            association.release()
    finally:
        for timer in overdue:
            timer.cancel()
    if "Status" not in status:
        raise CallFailedError("connection_cut")
    check_stored(status.Status)


def check_stored(status: int) -> None:
    """Accept a status of C-STORE that says that the archive has the instance.

    Success and warnings (DICOM PS3.4 table B.2-1) do, and so does a refusal as a duplicate: its UID
    is that of the job, so that it was stored by an attempt whose answer was lost.

    Args:
        status: Of a response, or the failure reason of STOW-RS, which has the same values.

    Raises:
        CallFailedError: `dicom_HHHH` with the status in hexadecimal digits; final where the archive
            takes no objects of this class or none that are built so (0122, A9xx).
    """
    if status in (0x0000, _DUPLICATE) or status >> 12 == 0xB:
        return
    is_final = status == _NOT_SUPPORTED or status >> 8 == 0xA9
    raise CallFailedError(f"dicom_{status:04x}", is_final=is_final)


def _refusal(association: Association) -> str:
    if association.is_rejected:
        return "association_rejected"
    if association.acceptor.primitive is not None:
        return "context_rejected"
    return "connect_error"


def _cut(association: Association) -> None:
    transport = association.dul.socket
    connection = transport.socket if transport is not None else None
    if connection is not None:
        with suppress(OSError):  # it has ended already
            connection.shutdown(socket.SHUT_RDWR)


async def _posted(
    destination: Destination,
    file: bytes,
    own: dict[str, str],
    timeout: httpx.Timeout,
    limit_seconds: float,
) -> tuple[int, bytes]:
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    headers = {
        "Accept": "application/dicom+json",
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "User-Agent": "hemotriage",
        **own,
    }
    url = httpx.URL(
        scheme="https" if destination.is_secure else "http",
        host=destination.host,
        port=destination.port,
        path=f"{destination.path}/studies",
    )
    tls = ssl.create_default_context()
    body = head + file + f"\r\n--{boundary}--\r\n".encode()
    async with (
        asyncio.timeout(limit_seconds),
        httpx.AsyncClient(verify=tls, timeout=timeout, trust_env=False) as client,
        client.stream("POST", url, headers=headers, content=body) as response,
    ):
        answer = b""
        if response.status_code != 200:
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise CallFailedError("answer_too_large")
        return response.status_code, answer


def _failures(answer: bytes) -> list[int]:
    """The reasons in the answer of a STOW-RS service (DICOM PS3.18 annex I.2)."""
    try:
        document: Any = json.loads(answer)
        items = document.get(_FAILED_SEQUENCE, {}).get("Value", [])
        return [int(item[_FAILURE_REASON]["Value"][0]) & 0xFFFF for item in items]
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise CallFailedError("answer_malformed") from error
