"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from collections import deque

from shared.local.errors import LocalServiceError

HOST = "127.0.0.1"
GRPC_OFFSET = 10_000
"""SeaweedFS looks for the gRPC port of a component this far above its HTTP port."""

# With the gRPC ports above them, these lie below the range that systems give to outgoing
# connections, which would take the port of a server while it is down.
_FIRST, _LAST = 12_000, 21_999
_TRIES = 1000

_MOST_HELD = 200
_held: deque[socket.socket] = deque()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, paired: bool = False) -> list[int]:
    """Find ports that are free, all different.

    Args:
        count: How many.
        paired: The port `GRPC_OFFSET` above each must be free too.

    Raises:
        LocalServiceError: None were found.
    """
    found: list[int] = []
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - no secret
        if not is_free(port) or (paired and not is_free(port + GRPC_OFFSET)) or not _hold(port):
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise LocalServiceError("No free ports were found.")


def free_row(count: int) -> int:
    """Find ports in a row that are free.

    Returns:
        The first of them.

    Raises:
        LocalServiceError: None were found.
    """
    for _ in range(_TRIES):
        first = random.randint(_FIRST, _LAST - count)  # noqa: S311 - no secret
        row = range(first, first + count)
        if all(map(is_free, row)) and all(map(_hold, row)):
            return first
    raise LocalServiceError("No free ports were found.")


def _hold(port: int) -> bool:
    """Keep whoever looks for a port from finding this one before its server listens on it.

    The port of the same number for datagrams is taken for that, as no server here uses it, until
    this process ends or has found many others.
    """
    holder = socket.socket(type=socket.SOCK_DGRAM)
    try:
        holder.bind((HOST, port))
    except OSError:
        holder.close()
        return False
    _held.append(holder)
    if len(_held) > _MOST_HELD:
        _held.popleft().close()
    return True
