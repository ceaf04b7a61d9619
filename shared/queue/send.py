"""Sends a job id to its queue."""

from __future__ import annotations

import uuid
from typing import Protocol

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.errors import TransientError
from shared.queue.names import INFER_TASK


class BrokerUnavailableError(TransientError):
    """The message broker does not answer."""

    code = "broker_unavailable"


class Sender(Protocol):
    """Announces a job to the workers of its queue."""

    def __call__(self, job_id: uuid.UUID, queue: str) -> None:
        """Send; raises BrokerUnavailableError."""


class CelerySender:
    """Sends by Celery, once, without retrying: what is not sent stays in the outbox."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __call__(self, job_id: uuid.UUID, queue: str) -> None:
        """Send one job id.

        Raises:
            BrokerUnavailableError: The broker refused or did not answer in time.
        """
        try:
            self._app.send_task(INFER_TASK, args=[str(job_id)], queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailableError from error

    def ping(self) -> None:
        """Raise BrokerUnavailableError unless the broker answers."""
        try:
            with self._app.connection_for_write() as connection:
                connection.default_channel.client.ping()
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailableError from error
