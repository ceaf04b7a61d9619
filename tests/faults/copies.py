"""Delivers messages more than once."""

from __future__ import annotations

import uuid
from typing import cast

from shared.queue.app import create_celery
from shared.queue.names import QUEUES
from shared.queue.send import CelerySender
from tests.conftest import settings_of
from tests.faults.scene import Scene

_ANNOUNCEMENTS = "SELECT id::text, priority, queued_at FROM jobs WHERE idempotency_key LIKE %s"


class Copies:
    """Puts messages into the queues again."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._valkey = scene.world.valkey()
        settings = settings_of(scene.world.service.servers.environment())
        self._send = CelerySender(create_celery(settings, answer_timeout=5))
        self._seen: dict[str, set[bytes]] = {queue: set() for queue in QUEUES}
        self._sent: set[uuid.UUID] = set()
        self.count = 0

    def copy_waiting(self) -> None:
        """Copy every message that waits, to the byte, twice."""
        for queue, seen in self._seen.items():
            waiting = cast(set[bytes], set(self._valkey.lrange(queue, 0, -1)))
            new = waiting - seen
            seen.update(new)
            self._push(queue, [*new, *new])

    def copy_late(self) -> None:
        """Copy what was seen earlier once more; most of its jobs have ended."""
        for queue, seen in self._seen.items():
            self._push(queue, list(seen))

    def send_again(self) -> None:
        """Send the message of every job of the load twice."""
        pattern = f"{self._scene.load.prefix}.%"
        for found, queue, at in self._scene.world.query(_ANNOUNCEMENTS, pattern):
            job_id = uuid.UUID(found)
            if job_id not in self._sent:
                self._sent.add(job_id)
                for _ in range(2):
                    self._send(job_id, queue, at)
                    self.count += 1

    def _push(self, queue: str, messages: list[bytes]) -> None:
        if messages:
            self._valkey.lpush(queue, *messages)
            self.count += len(messages)
