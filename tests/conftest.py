"""What all tests share: the real servers, and the real images where they are."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as drawing
from sqlalchemy import Engine, create_engine, text

from shared.client import Client
from shared.db import session
from shared.db.migrate import upgrade
from shared.db.models import Base
from shared.db.session import Sessions, create_database, create_sessions
from shared.local.ports import free_ports, free_row
from shared.local.servers import LocalServers
from shared.local.service import APPLICATIONS, LocalService
from shared.logging import Formatter
from shared.queue.app import create_celery
from shared.queue.send import CelerySender
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.factories import DATASET, PRETRAINED
from tests.log_scan import log_scan, pytest_runtest_logreport

__all__ = ["log_scan", "pytest_runtest_logreport"]

# Nobody is told how fast a machine is: one that is busy takes longer over an example now and then.
drawing.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
drawing.load_profile("busy")

# An activated environment has programs of pynetdicom that are called as those of dcmtk.
_OURS = str(Path(sys.executable).parent)
os.environ["PATH"] = os.pathsep.join(
    folder for folder in os.environ["PATH"].split(os.pathsep) if folder != _OURS
)

MOST_CONNECTED = 150
"""Of the 200 that PostgreSQL takes. Listeners on the tests' own engine last: some 50."""


@pytest.fixture(scope="session")
def service_folder() -> Iterator[Path]:
    """A folder for servers; below the system's own, so that its path is short."""
    folder = Path(tempfile.mkdtemp(prefix="hemotriage-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(service_folder: Path) -> Iterator[LocalServers]:
    """Real PostgreSQL, Valkey and SeaweedFS for the whole test run."""
    with LocalServers(service_folder / "servers") as running:
        yield running


def settings_of(environment: dict[str, str], **overrides: object) -> Settings:
    """Settings from what a launcher gives, with some of them changed."""
    prefix = "HEMOTRIAGE_"
    values = {name.removeprefix(prefix).lower(): value for name, value in environment.items()}
    return Settings.model_validate({**values, **overrides})


@pytest.fixture(scope="session")
def settings(servers: LocalServers) -> Settings:
    """Settings that lead to the test servers."""
    return settings_of(servers.environment(), api_connections=8)


@pytest.fixture(scope="session")
def database(settings: Settings) -> Iterator[Engine]:
    """The migrated database."""
    engine = create_database(settings, pool_size=20)
    upgrade(engine)
    yield engine
    with engine.connect() as connection:
        connected = connection.scalar(text("SELECT count(*) FROM pg_stat_activity"))
    engine.dispose()
    # What tests leave open adds up until PostgreSQL refuses one that is not at fault.
    assert connected < MOST_CONNECTED, f"{connected} connections are left by the tests"


@pytest.fixture(autouse=True)
def disposed_engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dispose of the engines that a test makes, at its end.

    The connections of an application would last until a collection of garbage finds it, and those
    by which it listens as long as the process.
    """
    made: list[Engine] = []

    def make(*arguments: Any, **named: Any) -> Engine:
        made.append(create_engine(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(session, "create_engine", make)
    yield
    for engine in made:
        engine.dispose()


@pytest.fixture
def sessions(database: Engine) -> Sessions:
    """Sessions on an empty database."""
    names = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with database.begin() as connection:
        # The audit trail is append-only for whoever does not say so.
        connection.execute(text("SET LOCAL hemotriage.audit_prune = 'on'"))
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    return create_sessions(database)


@pytest.fixture(scope="session")
def storage(settings: Settings) -> S3Store:
    """The object store, with its bucket."""
    store = S3Store(settings, pool_size=8)
    store.ensure_bucket()
    return store


@pytest.fixture(scope="session")
def sender(settings: Settings) -> CelerySender:
    """The real sender to the real broker."""
    return CelerySender(create_celery(settings, answer_timeout=5))


@pytest.fixture(scope="session")
def dataset() -> Path:
    """The folder of the real images; the test is skipped where it is absent."""
    if not DATASET.is_dir():
        pytest.skip(f"the real smear images are not beside the project ({DATASET.parent.name})")
    return DATASET


@pytest.fixture
def pretrained_folder() -> Path:
    """The folder of pretrained weights; skips where it is not."""
    if not PRETRAINED.is_dir():
        pytest.skip("the pretrained weights are not beside the project")
    return PRETRAINED


@pytest.fixture(scope="session")
def service(service_folder: Path) -> Iterator[LocalService]:
    """Servers, API, worker, trainer and relay; a lost worker's jobs come back within seconds."""
    settings = {
        "HEMOTRIAGE_LEASE_SECONDS": "5",
        "HEMOTRIAGE_REQUEUE_AFTER_SECONDS": "10",
        # Tests try many an invalid key, all from one address.
        "HEMOTRIAGE_FAILED_SIGN_INS_PER_MINUTE": "1000000",
        # Two processes of tests that start at once would prefer the same one.
        "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
        "HEMOTRIAGE_METRICS_PORT": str(free_row(len(APPLICATIONS) + 1)),
    }
    with LocalService(service_folder / "service", settings=settings) as running:
        yield running


@pytest.fixture
def client(service: LocalService) -> Client:
    """A client with every scope."""
    service.ensure_alive()
    return Client(service.url, service.api_key)


@pytest.fixture
def log_lines() -> Iterator[list[dict[str, object]]]:
    """What this process logs during the test, as a service would write it."""
    written: list[dict[str, object]] = []

    class Writer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(self.format(record)))

    writer = Writer()
    writer.setFormatter(Formatter(service="tests"))
    logging.getLogger().addHandler(writer)
    yield written
    logging.getLogger().removeHandler(writer)
