"""Looks every few seconds at what each process holds, and at what the servers keep."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis

from shared.local.errors import LocalServiceError
from shared.local.process import LocalProcess
from shared.queue.names import QUEUES
from tests.faults.world import World
from tests.soak.growth import Piece

FILL_SECONDS = 10 * 60.0
"""Until a process that was started has filled what it fills once, and is judged.

It meets some images, requests and tables minutes after the first, keeps what it learns of them, and
writes into pages that it shared since a fork.
"""

FILL_SECONDS_OF = {"seaweedfs": 33 * 60.0}
"""The exception, by role.

SeaweedFS copies its log of changes each minute into the next of 32 buffers of 8 MiB, which it has
from its start (`weed/util/log_buffer`): 256 MiB, of which it touches more for half an hour.
"""

FILLS_ANEW = {"postgres"}
"""Roles that fill again after each of their breaks: PostgreSQL has a process a connection, and what
they keep of tables and plans begins anew with the client that restarts.
"""

_KIBIBYTE = 1024
_SERVERS = """
SELECT pg_database_size(current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
       (SELECT count(*) FROM jobs), (SELECT count(*) FROM jobs WHERE status = 'queued')
"""


@dataclass(frozen=True)
class Held:
    """What a process holds. Sizes in bytes.

    `anonymous` is memory of its own: heap and stacks. `shared` is PostgreSQL's shared buffers and
    the like, and `mapped` are files, which the page cache holds and gives back: neither can leak,
    and both grow until they are full.
    """

    role: str
    pid: int
    created: float
    anonymous: int
    mapped: int
    shared: int
    threads: int
    files: int


@dataclass
class Sample:
    """One look; `at` by the wall clock."""

    at: float
    held: list[Held] = field(default_factory=list)
    servers: dict[str, float] = field(default_factory=dict)


class Sampler:
    """Takes samples in a thread of its own."""

    def __init__(self, world: World, *, every: float) -> None:
        self._world = world
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            sample = Sample(time.time())
            sample.held = list(_held(self._world.processes))
            with suppress(psycopg2.Error, redis.RedisError):
                sample.servers = self._servers()
            self.samples.append(sample)

    def _servers(self) -> dict[str, float]:
        with closing(psycopg2.connect(self._world.dsn)) as connection, connection.cursor() as asked:
            asked.execute(_SERVERS)
            size, connections, jobs, queued = asked.fetchone()
        with closing(self._world.valkey()) as valkey:
            memory: Any = valkey.info("memory")
            waiting = sum(int(valkey.llen(queue)) for queue in QUEUES)
            keys = int(valkey.dbsize())
        return {
            "database_bytes": size,
            "database_connections": connections,
            "jobs": jobs,
            "queued": queued,
            "valkey_bytes": memory["used_memory"],
            "valkey_keys": keys,
            "valkey_queue": waiting,
        }


def _held(processes: Mapping[str, LocalProcess]) -> Iterator[Held]:
    for name, process in list(processes.items()):
        with suppress(psutil.Error, LocalServiceError, OSError):
            main = psutil.Process(process.pid)
            children = main.children(recursive=True)
            if name == "postgres":  # its processes come and go with their clients
                yield _sum(name, main, list(_each(name, [main, *children])))
                continue
            yield from _each(name, [main])
            yield from _each(f"{name}, children", children)


def _each(role: str, processes: Iterable[psutil.Process]) -> Iterator[Held]:
    for process in processes:
        with suppress(psutil.Error, OSError):  # it has ended meanwhile
            yield _of(role, process)


def _of(role: str, process: psutil.Process) -> Held:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) * _KIBIBYTE for line in rollup}
    with process.oneshot():
        return Held(
            role=role,
            pid=process.pid,
            created=process.create_time(),
            anonymous=sizes["Pss_Anon"],
            mapped=sizes["Pss_File"],
            shared=sizes["Pss_Shmem"],
            threads=process.num_threads(),
            files=process.num_fds(),
        )


def _sum(role: str, main: psutil.Process, parts: list[Held]) -> Held:
    names = ("anonymous", "mapped", "shared", "threads", "files")
    sums = {name: sum(getattr(part, name) for part in parts) for name in names}
    return Held(role=role, pid=main.pid, created=main.create_time(), **sums)


def pieces_of(
    samples: Iterable[Sample], breaks: Mapping[str, list[float]], measure: str = "anonymous"
) -> dict[str, list[Piece]]:
    """The samples of each role, cut where a process is another one or something was loaded.

    Args:
        samples: All.
        breaks: By role, the moments at which its memory may rightly change; "" stands for all.
        measure: What of it.

    Returns:
        Without the samples of processes that fill still, see `FILL_SECONDS`.
    """
    found: dict[str, dict[tuple[object, ...], list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for sample in samples:
        for held in sample.held:
            own = [cut for cut in breaks.get(held.role, []) if cut <= sample.at]
            number = len(own) + sum(cut <= sample.at for cut in breaks.get("", []))
            of_role = found[held.role]
            began = max([held.created, *(own if held.role in FILLS_ANEW else [])])
            if sample.at - began >= FILL_SECONDS_OF.get(held.role, FILL_SECONDS):
                piece = of_role[held.pid, held.created, number]
                piece.append((sample.at, float(getattr(held, measure))))
    return {role: list(pieces.values()) for role, pieces in found.items()}
