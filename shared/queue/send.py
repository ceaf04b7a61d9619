"""Sends job ids to their queues, and looks at what waits there."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.errors import TransientError
from shared.queue.names import INFER_TASK

_ANNOUNCED_AT = "announced_at"
_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class BrokerUnavailableError(TransientError):
    """The message broker does not answer."""

    code = "broker_unavailable"


class Sender(Protocol):
    """Announces a job to the workers of its queue."""

    def __call__(self, job_id: uuid.UUID, queue: str, announced_at: dt.datetime) -> None:
        """Send; raises BrokerUnavailableError."""


class QueueView(Protocol):
    """Looks into the queues."""

    def oldest(self, queue: str) -> dt.datetime | None:
        """When the next message of a queue was announced; raises BrokerUnavailableError."""


class CelerySender:
    """Sends by Celery, once, without retrying: what is not sent stays in the outbox."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __call__(self, job_id: uuid.UUID, queue: str, announced_at: dt.datetime) -> None:
        """Send one job id.

        Raises:
            BrokerUnavailableError: The broker refused or did not answer in time.
        """
        with _translated():
            self._app.send_task(
                INFER_TASK,
                args=[str(job_id)],
                queue=queue,
                retry=False,
                # Workers declare their queues; a list takes messages all the same.
                declare=(),
                headers={_ANNOUNCED_AT: announced_at.isoformat()},
            )

    def oldest(self, queue: str) -> dt.datetime | None:
        """When the message that workers take next was announced; None where none waits.

        Raises:
            BrokerUnavailableError: The broker refused or did not answer in time.
        """
        with _translated(), self._app.pool.acquire(block=True) as connection:
            message = self._redis(connection).lindex(queue, -1)
        if message is None:
            return None
        announced_at = json.loads(message)["headers"].get(_ANNOUNCED_AT)
        # A message that does not say may be of any age.
        return dt.datetime.fromisoformat(announced_at) if announced_at else _LONG_AGO

    def ping(self) -> None:
        """Raise BrokerUnavailableError unless the broker answers."""
        with _translated(), self._app.connection_for_read() as connection:
            self._redis(connection).ping()

    @staticmethod
    def _redis(connection: Any) -> Any:
        return connection.default_channel.client


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerUnavailableError from error
