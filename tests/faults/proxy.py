"""Stands between our processes and a server, and breaks their connections on demand."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Callable

from faulty.core import FaultyProxy
from faulty.core.pipeline import Pipeline
from faulty.middlewares import BaseMiddleware

from shared.local.ports import HOST

_LAST_SECONDS = 0.2
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# It reports every server that is down as an error of its own.
logging.getLogger("faulty.proxy").setLevel(logging.CRITICAL)


class _Link(BaseMiddleware):
    """One direction of one connection; a dead one swallows what comes and is never closed."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.dead = False
        self._release = asyncio.Event()

    async def process(self, chunk: bytes) -> AsyncGenerator[bytes, None]:
        """Pass a chunk on, or keep it and everything after it."""
        if self.dead:
            await self._release.wait()
        yield chunk

    def reset(self) -> None:
        """Abort the connection; its peer sees a reset."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.writer.transport.abort()
        self._release.set()


class FaultProxy(FaultyProxy):
    """A proxy to one local server. `cut`, `half_open` and `mend` may be called from any thread."""

    def __init__(self, target_port: int) -> None:
        # Out of the range of outgoing connections: the servers, which do not listen yet, have
        # theirs below it.
        self._socket = socket.create_server((HOST, 0))
        self.port = self._socket.getsockname()[1]
        super().__init__(HOST, self.port, HOST, target_port)
        self._links: set[_Link] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def listen(self) -> None:
        """Take connections from now on."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._handle_client, sock=self._socket)

    def cut(self) -> int:
        """Reset every open connection at both ends; returns how many there were."""
        return self._call(lambda: self._reset(self._links))

    def half_open(self) -> int:
        """Let every open connection fall silent for ever, both ways; new ones work."""

        def kill() -> int:
            for link in self._links:
                link.dead = True
            return len(self._links) // 2

        return self._call(kill)

    def mend(self) -> None:
        """End the connections that fell silent."""
        self._call(lambda: self._reset({link for link in self._links if link.dead}))

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pipeline: Pipeline,
        direction: str,
    ) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            await super()._pipe(reader, writer, Pipeline([*pipeline.middlewares, link]), direction)
        finally:
            self._links.discard(link)

    @staticmethod
    def _reset(links: set[_Link]) -> int:
        for link in list(links):
            link.reset()
        return len(links) // 2

    def _call(self, act: Callable[[], int]) -> int:
        async def run() -> int:
            return act()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=10)


class ProxyThread:
    """Runs proxies in a thread of their own."""

    def __init__(self, proxies: list[FaultProxy]) -> None:
        self._proxies = proxies
        self._loop = asyncio.new_event_loop()
        # A connection that ends in an unusual way is what this is for.
        self._loop.set_exception_handler(lambda *_: None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for proxy in proxies:
            asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result(timeout=10)

    def stop(self) -> None:
        """End every connection, then the loop."""
        for proxy in self._proxies:
            proxy.cut()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(_LAST_SECONDS), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
