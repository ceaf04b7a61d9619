"""Takes HL7 messages over MLLP and hands each to who answers it.

A frame is `<SB>message<EB><CR>` (HL7 Implementation Guide v2.3.1, appendix C.4). A connection may
carry many, one after the other; each is answered before the next is looked at. What comes before a
start block is no message: noise of a line, or a message whose sender has begun again.

One thread waits for all connections; messages are handled in a few others. A peer that says
nothing, or says it a byte at a time, so holds a place among the connections and no thread.

Framing is asyncio's `readuntil` and not the reader of the `hl7` library: that one throws away a
message with a byte of noise before it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from shared.auth.hosts import Address, Networks, client_address, is_within

_log = logging.getLogger(__name__)

_START, _END = b"\x0b", b"\x1c\r"

Handle = Callable[[bytes, Address | None], bytes]
"""Takes a message and where it came from; returns its acknowledgement. It raises nothing."""


@dataclass(frozen=True)
class Limits:
    """What peers may use up."""

    message_bytes: int = 256 * 1024
    connections: int = 32
    threads: int = 4
    handshake_seconds: float = 10.0
    idle_seconds: float = 600.0
    """Between two messages of a connection."""
    message_seconds: float = 30.0
    """From a message's first byte to its last."""
    answer_seconds: float = 10.0
    """For a peer to take an acknowledgement."""


class MllpListener:
    """Listens in a thread of its own."""

    def __init__(
        self,
        handle: Handle,
        *,
        allowed: Networks,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            handle: Called in one of `limits.threads` threads.
            allowed: Who may connect.
            tls: For TLS; None speaks none.
            limits: What peers may use up.
        """
        self._handle = handle
        self._allowed = allowed
        self._tls = tls
        self._limits = limits or Limits()
        self._conversations: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: The address is in use.
        """
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(host, port, started)), name="mllp", daemon=True
        )
        self._thread.start()
        return started.result()

    def close(self) -> None:
        """Listen no more, and end all connections.

        What is being handled is done, though not answered: its sender asks again.
        """
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join()

    @property
    def is_listening(self) -> bool:
        """Whether the thread that listens has not ended."""
        return self._thread is not None and self._thread.is_alive()

    async def _serve(self, host: str, port: int, started: Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(
                self._connected,
                host,
                port,
                limit=self._limits.message_bytes,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.handshake_seconds if self._tls else None,
            )
        except OSError as error:
            started.set_exception(error)
            return
        with ThreadPoolExecutor(self._limits.threads, thread_name_prefix="mllp") as self._pool:
            started.set_result(server.sockets[0].getsockname()[1])
            await self._stopping.wait()
            server.close()
            for conversation in tuple(self._conversations):
                conversation.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None  # noqa: S101 - a coroutine runs in a task
        self._conversations.add(conversation)
        try:
            peer = writer.get_extra_info("peername") or (None,)
            address = client_address(peer[0], "", ())
            if address is None or not is_within(address, self._allowed):
                _log.warning("HL7 connection from another address", extra={"address": str(address)})
            elif len(self._conversations) > self._limits.connections:
                _log.warning("too many HL7 connections")
            else:
                await self._converse(reader, writer, address)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            _log.warning("HL7 connection ended", extra={"code": type(error).__name__})
        finally:
            self._conversations.discard(conversation)
            # Without a farewell, for which a peer could be waited for; answers were drained.
            writer.transport.abort()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address
    ) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drained is then: given to the system
        while (block := await self._block(reader)) is not None:
            _, start, message = block.rpartition(_START)
            if not start:
                _log.warning("HL7 frame without a start")
                continue
            answer = await self._loop.run_in_executor(self._pool, self._handle, message, address)
            async with asyncio.timeout(self._limits.answer_seconds):
                writer.write(_START + answer + _END)
                await writer.drain()

    async def _block(self, reader: asyncio.StreamReader) -> bytes | None:
        """All up to the next end of a frame; None: the peer has ended the connection."""
        async with asyncio.timeout(self._limits.idle_seconds):
            first = await reader.read(1)
        if not first:
            return None
        async with asyncio.timeout(self._limits.message_seconds):
            rest = await reader.readuntil(_END)
        return (first + rest).removesuffix(_END)
