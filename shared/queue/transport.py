"""kombu's transport for Valkey, with one client a channel.

kombu makes a client for each message that it sends, which costs as much as sending it: a client
begins with a table of what each of 170 commands answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel whose client serves every command, by the channel's pool of connections."""

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """See kombu's."""
        yield client or self._kept_client

    @cached_property
    def _kept_client(self) -> Any:
        return self._create_client()


class Transport(redis.Transport):  # type: ignore[misc]
    """What `shared.queue.app` has Celery send and receive by."""

    Channel = Channel
