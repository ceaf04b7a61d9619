"""A filled place to back up, and an empty one to restore into."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from shared.audit.checkpoint import CHECKPOINTS_PREFIX
from shared.backup.database import copying_engine
from shared.backup.manifest import Manifest
from shared.backup.place import BackupPlace
from shared.backup.restore import restore_backup
from shared.backup.take import Told, take_backup
from shared.db.session import create_database
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.filled import contents, fill


@dataclass(frozen=True)
class Place:
    """A database and a bucket of their own, on the servers of the tests."""

    settings: Settings
    engine: Engine
    storage: S3Store

    def environment(self) -> dict[str, str]:
        """What leads the command line here."""
        names = ("s3_endpoint", "s3_bucket")
        secrets = ("database_url", "broker_url", "s3_access_key", "s3_secret_key")
        values = {name: getattr(self.settings, name) for name in names}
        values |= {name: getattr(self.settings, name).get_secret_value() for name in secrets}
        return {f"HEMOTRIAGE_{name.upper()}": value for name, value in values.items()}

    def stored(self) -> dict[str, bytes]:
        """All objects by their keys."""
        keys = [found.key for found in self.storage.list("", after="")]
        return {key: self.storage.get(key) for key in keys}

    def remove_objects(self) -> None:
        """Leave an empty bucket."""
        for found in list(self.storage.list("", after="")):
            self.storage.delete(found.key)

    def put_objects(self, mark: int) -> None:
        """Store what the rows of a mark name."""
        for key, data in contents(mark).items():
            self.storage.put(key, io.BytesIO(data), len(data), "application/octet-stream")


@contextmanager
def a_place(settings: Settings, name: str) -> Iterator[Place]:
    """A database without tables, and an empty bucket."""
    # It takes as long as the disk is busy with what was written before.
    patient = create_database(settings, pool_size=1, patient=True)
    with patient.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        known = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if connection.scalar(known, {"name": name}) is None:
            connection.execute(text(f"CREATE DATABASE {name}"))
    url = patient.url.set(database=name)
    patient.dispose()
    shown = url.render_as_string(hide_password=False)
    own = Settings.model_validate(
        {**dict(settings), "database_url": shown, "s3_bucket": name.replace("_", "-")}
    )
    storage = S3Store(own, pool_size=4)
    storage.ensure_bucket()
    place = Place(own, create_engine(url), storage)
    # Not the database: to drop one makes the server write down all that it has in memory.
    with place.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    place.remove_objects()
    yield place
    place.engine.dispose()


def back_up(source: Place, folder: Path, told: Told = bool) -> Manifest:
    """What `hemotriage backup` does."""
    place = BackupPlace(folder)
    with place.alone(), copying_engine(source.settings) as engine:
        return take_backup(engine, source.storage, place, told)


def restore(target: Place, folder: Path, name: str | None = None) -> Manifest:
    """What `hemotriage restore` does."""
    with copying_engine(target.settings) as engine:
        return restore_backup(engine, target.storage, BackupPlace(folder), name, bool)


def add(source: Place, mark: int) -> None:
    """Rows and objects as an intake makes them: objects first."""
    source.put_objects(mark)
    engine = create_engine(source.engine.url)
    with engine.begin() as connection:
        fill(connection, mark)
    engine.dispose()


def named_by_rows(target: Place) -> dict[str, bytes]:
    """All objects but those of checkpoints, which are made again."""
    stored = target.stored()
    return {key: data for key, data in stored.items() if not key.startswith(CHECKPOINTS_PREFIX)}
