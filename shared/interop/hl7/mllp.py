"""Sends HL7 messages over MLLP and reads how they were acknowledged.

A message goes out as `<SB>message<EB><CR>`, and its acknowledgement comes back so on the same
connection (HL7 Implementation Guide v2.3.1, appendix C.4: Minimal Lower Layer Protocol). A
connection carries one message: an acknowledgement that is late can so never be taken for that of
another.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from hl7.mllp import (  # type: ignore[import-untyped]
    InvalidBlockError,
    open_hl7_connection,
)

from shared.webhooks.call import CallFailedError

MAX_ACK_BYTES = 64 * 1024

_START_BLOCK, _END_BLOCK = b"\x0b", b"\x1c"
_ERROR_CODE = re.compile(r"[12][0-9]{2}", re.ASCII)  # HL7 v2.5.1 table 0357
# The message is built wrongly, or is of a kind that is not taken.
_STAYS = re.compile(r"[12]0[0-3]", re.ASCII)


def send(
    host: str,
    port: int,
    message: str,
    *,
    connect_seconds: float,
    answer_seconds: float,
    over_tls: bool = False,
) -> str:
    r"""Send a message and read its acknowledgement.

    Args:
        host: Where to.
        port: The port.
        message: ER7 with `\r` after each segment; sent as UTF-8.
        connect_seconds: Longest wait for a connection, TLS included.
        answer_seconds: Longest time from there to the whole acknowledgement, however the bytes
            drip in.
        over_tls: Speak TLS; the receiver's certificate must be trusted by the system.

    Returns:
        The acknowledgement, which nobody has looked at yet.

    Raises:
        CallFailedError: `connect_timeout`, `connect_error`, `connection_cut`, `answer_timeout`,
            `ack_too_large` or `ack_malformed`. The receiver may have the message all the same.
            `message_unframeable`, which is final: nothing was sent.
    """
    data = message.encode()
    if _START_BLOCK in data or _END_BLOCK in data:
        raise CallFailedError("message_unframeable", is_final=True)
    tls = ssl.create_default_context() if over_tls else None
    ack = asyncio.run(
        _send(
            data,
            host=host,
            port=port,
            tls=tls,
            connect_seconds=connect_seconds,
            answer_seconds=answer_seconds,
        )
    )
    return ack.decode(errors="replace")


def check_acknowledged(ack: str, control_id: str) -> None:
    r"""Accept an acknowledgement that takes a message, in original mode (HL7 v2.5.1 section 2.9.2).

    Of a refusal only codes are kept: its texts may repeat a patient's data.

    Args:
        ack: ER7, as it came.
        control_id: MSH-10 of the message, which MSA-2 repeats.

    Raises:
        CallFailedError: `ack_ae`, the receiver finds an error, or `ack_ar`, it rejects the message.
            Both may end with the code of ERR-3, such as `ack_ar_207`. Receivers do not agree on
            which of them may be sent again; final are the codes that say what the message is.
            `ack_of_another`, `ack_unknown` (a code that is none of these) or `ack_malformed`.
    """
    segments = ack.lstrip("\r\n").replace("\n", "\r").split("\r")
    separator = segments[0][3:4]
    if not segments[0].startswith("MSH") or not separator or separator.isalnum():
        raise CallFailedError("ack_malformed")
    fields = {line[:3]: line.split(separator) for line in reversed(segments[1:])}
    answer = [field.strip() for field in fields.get("MSA", ())]
    if len(answer) < 3:
        raise CallFailedError("ack_malformed")
    if answer[2] != control_id:
        raise CallFailedError("ack_of_another")
    if answer[1] == "AA":
        return
    if answer[1] not in ("AE", "AR"):
        raise CallFailedError("ack_unknown")
    met = _ERROR_CODE.match(fields["ERR"][3]) if len(fields.get("ERR", ())) > 3 else None
    code = f"ack_{answer[1].lower()}" + (f"_{met[0]}" if met else "")
    raise CallFailedError(code, is_final=bool(met and _STAYS.match(met[0])))


async def _send(
    message: bytes,
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    connect_seconds: float,
    answer_seconds: float,
) -> bytes:
    with _failing_as(timeout="connect_timeout", error="connect_error"):
        async with asyncio.timeout(connect_seconds):
            reader, writer = await open_hl7_connection(host, port, ssl=tls, limit=MAX_ACK_BYTES)
    try:
        with _failing_as(timeout="answer_timeout", error="connection_cut"):
            async with asyncio.timeout(answer_seconds):
                writer.writeblock(message)
                await writer.drain()
                return bytes(await reader.readblock())
    except InvalidBlockError as error:
        raise CallFailedError("ack_malformed") from error
    except ValueError as error:  # how the reader says that its limit is reached
        raise CallFailedError("ack_too_large") from error
    finally:
        # Without a farewell, for which a receiver could be waited for.
        writer.transport.abort()


@contextmanager
def _failing_as(*, timeout: str, error: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as met:
        raise CallFailedError(timeout) from met
    except (OSError, EOFError) as met:
        raise CallFailedError(error) from met
