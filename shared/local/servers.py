"""The three servers together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from shared.db.roles.table import OWNER, Role, role_name
from shared.local.errors import LocalServiceError
from shared.local.leftovers import RunFolder
from shared.local.lifecycle import Startable
from shared.local.postgres import Postgres
from shared.local.process import LocalProcess
from shared.local.seaweedfs import BUCKET, SeaweedFS
from shared.local.secrets import LocalSecrets, load_or_make_secrets
from shared.local.valkey import Valkey

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.1


class LocalServers(Startable):
    """PostgreSQL, Valkey and SeaweedFS with their data under one folder, on 127.0.0.1.

    Use it from the main thread. As a context manager it starts them and stops them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.run_folder = RunFolder(self._root / "run")
        self._secrets: LocalSecrets | None = None
        self.processes: dict[str, LocalProcess] = {}

    @property
    def postgres(self) -> LocalProcess:
        """The PostgreSQL process."""
        return self.processes["postgres"]

    @property
    def valkey(self) -> LocalProcess:
        """The Valkey process."""
        return self.processes["valkey"]

    @property
    def seaweedfs(self) -> LocalProcess:
        """The SeaweedFS process."""
        return self.processes["seaweedfs"]

    def start(self) -> None:
        """Start the servers side by side and wait until all of them answer.

        What an earlier launcher of this folder left running is ended first.

        Raises:
            AlreadyRunningError: Another launcher runs in this folder.
            LocalServiceError: A server does not come up.
        """
        self.run_folder.lock()
        for name in self.run_folder.end_leftovers():
            _log.warning("ended a leftover process", extra={"server": name})
        self._secrets = load_or_make_secrets(self._root / "secrets.json")
        try:
            self._start_all(self._secrets)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the servers side by side."""
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            process.wait_stopped()
        self.run_folder.unlock()

    def ensure_alive(self) -> list[str]:
        """Start a server that died again, on its port and its data; returns the names of those."""
        dead = [process for process in self.processes.values() if not process.is_running()]
        for process in dead:
            _log.warning("restarting %s; its log is %s", process.spec.name, process.spec.log)
            start_patiently(process)
        if dead:
            self.run_folder.remember(self.processes.values())
        return [process.spec.name for process in dead]

    def environment(self, role: str = OWNER) -> dict[str, str]:
        """The settings that lead a process of the service here, by the names of `shared.settings`.

        Args:
            role: As whom the process asks the database: `OWNER`, who has the passwords of the
                others too, or a `shared.db.roles.table.Role`.

        Raises:
            LocalServiceError: The servers were not started.
        """
        if self._secrets is None:
            raise LocalServiceError("The servers were not started.")
        postgres, valkey, seaweedfs = _servers(self._root, self._secrets)
        return {
            **_database(postgres, role, self._secrets.role_passwords),
            "HEMOTRIAGE_BROKER_URL": valkey.url,
            "HEMOTRIAGE_S3_ENDPOINT": seaweedfs.endpoint,
            "HEMOTRIAGE_S3_ACCESS_KEY": seaweedfs.access_key,
            "HEMOTRIAGE_S3_SECRET_KEY": seaweedfs.secret_key,
            "HEMOTRIAGE_S3_BUCKET": BUCKET,
            "HEMOTRIAGE_CONSOLE_SECRET": self._secrets.console_secret,
            "HEMOTRIAGE_AUDIT_SIGNING_KEY": self._secrets.audit_signing_key,
        }

    def _start_all(self, made: LocalSecrets) -> None:
        postgres, valkey, seaweedfs = _servers(self._root, made)
        # The first two come up while the database cluster is made.
        for server in (valkey, seaweedfs, postgres):
            spec = server.spec()
            process = self.processes[spec.name] = LocalProcess(spec)
            process.start()
            self.run_folder.remember(self.processes.values())
        for process in (self.valkey, self.seaweedfs):
            process.wait_ready()
        seaweedfs.make_durable()
        if not self.postgres.is_running():
            start_patiently(self.postgres)
        self.postgres.wait_ready()
        postgres.create_database()


def start_patiently(process: LocalProcess) -> None:
    """Start a process that may have to wait for what a killed one left behind.

    A port or, for PostgreSQL, shared memory comes free moments after the process that had it.

    Raises:
        LocalServiceError: It never came up.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        process.start()
        try:
            process.wait_ready()
        except LocalServiceError:
            if process.is_running() or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _database(postgres: Postgres, role: str, passwords: Mapping[str, str]) -> dict[str, str]:
    if role != OWNER:
        url = postgres.url_of(role_name(Role(role)), passwords[role])
        return {"HEMOTRIAGE_DATABASE_URL": url}
    told = ",".join(f"{name}={password}" for name, password in passwords.items())
    return {"HEMOTRIAGE_DATABASE_URL": postgres.url, "HEMOTRIAGE_ROLE_PASSWORDS": told}


def _servers(root: Path, made: LocalSecrets) -> tuple[Postgres, Valkey, SeaweedFS]:
    data, log = root / "data", root / "log"
    return (
        Postgres(
            data / "postgres", log / "postgres.log", made.postgres_port, made.postgres_password
        ),
        Valkey(data / "valkey", log / "valkey.log", made.valkey_port, made.valkey_password),
        SeaweedFS(
            data / "seaweedfs",
            log / "seaweedfs.log",
            made.seaweedfs_ports,
            made.s3_access_key,
            made.s3_secret_key,
        ),
    )
