"""Celery's thread pool, which tells the worker at once that a thread has come free.

Celery looks for free threads when its event loop turns, and a loop in which nothing arrives sleeps
for up to a second. With all threads busy in one batch, the worker would idle after each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery, bootsteps
from celery.concurrency.thread import TaskPool

_log = logging.getLogger(__name__)


class _Doorbell:
    """Wakes an event loop from any thread, by a pipe that the loop reads."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def ring(self) -> None:
        # A full pipe wakes the loop as well.
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def answer(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.reader, 4096)


def _without_raising(accept: Callable[..., None] | None) -> Callable[..., None]:
    """The callback that acknowledges a message; where it fails, the job runs all the same.

    Celery would drop the task and count its thread as busy for ever.
    """

    def call(*args: Any, **kwargs: Any) -> None:
        try:
            if accept is not None:
                accept(*args, **kwargs)
        except Exception:
            _log.warning("message not acknowledged", exc_info=True)

    return call


def create_pool(app: Celery) -> type[TaskPool]:
    """Make the class of the pool, and have the application's worker listen to it."""
    doorbell = _Doorbell()

    class Threads(TaskPool):  # type: ignore[misc]
        def on_apply(self, *args: Any, **kwargs: Any) -> Any:
            kwargs["accept_callback"] = _without_raising(kwargs.get("accept_callback"))
            result = super().on_apply(*args, **kwargs)
            result.f.add_done_callback(lambda _: doorbell.ring())
            return result

    class Listen(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            consumer.hub.add_reader(doorbell.reader, doorbell.answer)

        def stop(self, consumer: Any) -> None:
            consumer.hub.remove(doorbell.reader)

    app.steps["consumer"].add(Listen)
    return Threads
