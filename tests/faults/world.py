"""A whole service whose processes reach their servers through fault proxies."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import psycopg2
import redis
from minio import Minio

from shared.local.errors import LocalServiceError
from shared.local.ports import HOST, free_ports
from shared.local.process import LocalProcess, ProcessSpec
from shared.local.secrets import LocalSecrets, load_or_make_secrets
from shared.local.service import LocalService
from tests.factories import small_champion
from tests.faults.proxy import FaultProxy, ProxyThread
from tests.faults.timeline import Timeline

_POLL_SECONDS = 0.1
_HEALTHY_SECONDS = 60.0
SERVERS = ("postgres", "valkey", "seaweedfs")


class BrokenWorldError(Exception):
    """The service does not come back, or the harness cannot do what it needs."""


class SkippedError(Exception):
    """This machine does not let us do the fault; the message says why."""


@dataclass(frozen=True)
class Form:
    """How long everything lasts. Times in seconds."""

    settings: dict[str, str]
    before: float
    after: float
    freeze: float
    pause: float
    chaos_jobs: int
    chaos_pause: float
    chaos_every: float
    chaos_seconds: float
    patience: float
    orphans_at_once: bool  # wait for their sweep after each fault, and not only after the last

    @property
    def orphan_grace(self) -> float:
        """Age at which an object without a job must be gone."""
        return float(self.settings["HEMOTRIAGE_ORPHAN_GRACE_SECONDS"])


SHORT = Form(
    settings={
        "HEMOTRIAGE_LEASE_SECONDS": "5",
        "HEMOTRIAGE_REQUEUE_AFTER_SECONDS": "3",
        "HEMOTRIAGE_ORPHAN_GRACE_SECONDS": "15",
    },
    before=1.0,
    after=1.0,
    freeze=6.0,
    pause=0.1,
    chaos_jobs=300,
    chaos_pause=0.1,
    chaos_every=3.0,
    chaos_seconds=60.0,
    patience=90.0,
    orphans_at_once=False,
)
# The lease and the other times of the service are its defaults. Only the grace of orphans is
# shortened, to longer than an upload can take whose service is frozen in the middle of it.
LONG = Form(
    settings={"HEMOTRIAGE_ORPHAN_GRACE_SECONDS": "60"},
    before=4.0,
    after=5.0,
    freeze=20.0,
    pause=0.1,
    chaos_jobs=10_000,
    chaos_pause=0.2,
    chaos_every=10.0,
    chaos_seconds=1800.0,
    patience=180.0,
    orphans_at_once=True,
)

Change = Callable[[ProcessSpec], ProcessSpec]


class World:
    """One service in a folder of its own. Use it from the main thread, as a context manager."""

    def __init__(
        self,
        form: Form,
        *,
        change: Change = lambda spec: spec,
        settings: dict[str, str] | None = None,
        proxied: bool = True,
    ) -> None:
        """Prepare a service.

        Args:
            form: Its timing.
            change: Changes how a process is run, before it is started.
            settings: Environment variables besides those of the form.
            proxied: Whether its processes reach their servers through proxies.
        """
        self.form = form
        self._change = change
        self.folder = Path(tempfile.mkdtemp(prefix="hemotriage-faults-"))
        self.folder.chmod(0o755)
        self.root = self.folder / "service"
        made = load_or_make_secrets(self.root / "secrets.json")
        self._made = made
        behind = {
            "postgres": made.postgres_port,
            "valkey": made.valkey_port,
            "seaweedfs": made.seaweedfs_ports["s3"],
        }
        self.proxies = {name: FaultProxy(port) for name, port in behind.items() if proxied}
        models = {"HEMOTRIAGE_MODELS_DIR": str(small_champion(self.folder / "models"))}
        given = {**models, **form.settings, **(settings or {}), **self._places()}
        self.service = LocalService(self.root, settings={**given, **self._detours()})
        self._proxy_thread = ProxyThread(list(self.proxies.values()))
        self.timeline = Timeline(self.dsn)
        self.blamed: set[str] = set()  # orphans that were complained of

    def __enter__(self) -> World:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """Address of the database itself, past the proxy."""
        made = self._made
        return (
            f"host={HOST} port={made.postgres_port} user=hemotriage dbname=hemotriage "
            f"password={made.postgres_password} connect_timeout=2"
        )

    @property
    def processes(self) -> dict[str, LocalProcess]:
        """All processes, by their names."""
        return {**self.service.servers.processes, **self.service.applications}

    def named(self, prefix: str) -> list[LocalProcess]:
        """The processes of a kind; there may be several workers."""
        found = [process for name, process in self.processes.items() if name.startswith(prefix)]
        if not found:
            raise BrokenWorldError(f"There is no process {prefix}.")
        return found

    def start(self) -> None:
        """Start everything."""
        with ExitStack() as stack:
            for module in ("servers", "service"):
                target = f"shared.local.{module}.LocalProcess"
                stack.enter_context(patch(target, self._process))
            self.service.start()
        if not self.timeline.is_running():
            self.timeline.start()

    def _process(self, spec: ProcessSpec) -> LocalProcess:
        environment = dict(spec.environment)
        url = environment.get("HEMOTRIAGE_DATABASE_URL")
        if url and self.proxies:
            # Each has a role of its own there, and takes the same detour.
            here, there = self._made.postgres_port, self.proxies["postgres"].port
            environment["HEMOTRIAGE_DATABASE_URL"] = url.replace(f":{here}/", f":{there}/")
        return LocalProcess(self._change(replace(spec, environment=environment)))

    def close(self) -> None:
        """Stop everything and remove its folder."""
        self.timeline.stop()
        for process in self.processes.values():
            process.resume()
        self.service.stop()
        self._proxy_thread.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tend(self) -> None:
        """Do once what the service's supervisor does all the time."""
        with suppress(LocalServiceError):
            self.service.ensure_alive()

    def wait(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Supervise for a while, or until something holds; returns whether it came to hold."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            self.tend()
            time.sleep(_POLL_SECONDS)
        return True

    def heal(self) -> None:
        """Take every disturbance away and wait until the service is well.

        Raises:
            BrokenWorldError: It does not become so.
        """
        for process in self.processes.values():
            process.resume()
        for proxy in self.proxies.values():
            proxy.mend()
        if not self.wait(_HEALTHY_SECONDS, until=self.is_ready):
            raise BrokenWorldError("The service does not become ready.")

    def is_ready(self) -> bool:
        """Whether every process runs and the API finds all servers well."""
        if not all(process.is_running() for process in self.processes.values()):
            return False
        try:
            with httpx.Client(trust_env=False, timeout=10) as http:
                return http.get(f"{self.service.url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database itself; a database that is down is waited for.

        Raises:
            BrokenWorldError: It does not come back.
        """
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while True:
            try:
                return _ask(self.dsn, sql, parameters)
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise BrokenWorldError("The database does not come back.") from error
            self.tend()
            time.sleep(_POLL_SECONDS)

    def valkey(self) -> redis.Redis:
        """A client of the broker itself, past the proxy."""
        return redis.Redis(
            host=HOST, port=self._made.valkey_port, password=self._made.valkey_password
        )

    def bucket(self) -> tuple[Minio, str]:
        """A client of the object store itself, past the proxy, and the bucket's name."""
        environment = self.service.servers.environment()
        store = Minio(
            environment["HEMOTRIAGE_S3_ENDPOINT"],
            access_key=environment["HEMOTRIAGE_S3_ACCESS_KEY"],
            secret_key=environment["HEMOTRIAGE_S3_SECRET_KEY"],
            secure=False,
            region="us-east-1",
        )
        return store, environment["HEMOTRIAGE_S3_BUCKET"]

    def _places(self) -> dict[str, str]:
        return {
            "HEMOTRIAGE_API_PORT": str(_port_beside(self._made)),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *_python_path()]),
        }

    def _detours(self) -> dict[str, str]:
        if not self.proxies:
            return {}
        made, port = self._made, {name: proxy.port for name, proxy in self.proxies.items()}
        return {
            "HEMOTRIAGE_BROKER_URL": f"redis://:{made.valkey_password}@{HOST}:{port['valkey']}/0",
            "HEMOTRIAGE_S3_ENDPOINT": f"{HOST}:{port['seaweedfs']}",
        }


def kill(processes: Sequence[LocalProcess]) -> None:
    """Kill -9 processes with their groups, all at once."""
    for process in processes:
        if process.is_running():
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.kill()


def _port_beside(made: LocalSecrets) -> int:
    """A free port that no server will take."""
    taken = {made.postgres_port, made.valkey_port, *made.seaweedfs_ports.values()}
    return next(port for port in free_ports(len(taken) + 1) if port not in taken)


def _ask(dsn: str, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())


def _python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
