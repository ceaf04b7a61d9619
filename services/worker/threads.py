"""Celery's thread pool, which tells the worker at once that a thread has come free.

Celery looks for free threads when its event loop turns, and a loop in which nothing arrives sleeps
for up to a second. With all threads busy in one batch, the worker would idle after each.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from celery import Celery, bootsteps
from celery.concurrency.thread import TaskPool


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


def create_pool(app: Celery) -> type[TaskPool]:
    """Make the class of the pool, and have the application's worker listen to it."""
    doorbell = _Doorbell()

    class Threads(TaskPool):  # type: ignore[misc]
        def on_apply(self, *args: Any, **kwargs: Any) -> Any:
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
