"""Speaks TLS in front of a server that has none: the servers out of wheels are built without it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.local.ports import HOST
from tests.certificates import Certificate

# What libpq sends first, and what a PostgreSQL with TLS answers:
# https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SSL
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_WILLING = b"S"
_PIECE_BYTES = 65_536


@contextmanager
def tls_front(port: int, certificate: Certificate, *, postgres: bool = False) -> Iterator[int]:
    """Take TLS connections, and pass on what is in them; gives the port.

    Args:
        port: The server's, on this machine.
        certificate: What clients are shown.
        postgres: Clients ask in the clear first whether they may begin.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.file, certificate.key)

    async def serve(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if postgres:
                assert await client.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST
                answer.write(_WILLING)
            await answer.start_tls(tls)
            server, request = await asyncio.open_connection(HOST, port)
            await asyncio.gather(_pass_on(client, request), _pass_on(server, answer))
        answer.close()

    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(serve, HOST, 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        loop.close()


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE_BYTES):
            target.write(piece)
            await target.drain()
    target.close()
