"""The database as a backup reads and writes it: whole tables, at one moment.

By COPY, as `pg_dump` does, and not by that program: no image of ours has it, and one of another
release than the server's refuses.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2 import extensions
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, func, select, text
from sqlalchemy.exc import OperationalError

from shared.backup.errors import RemovalsGoOnError
from shared.db.removal import REMOVAL_LOCK
from shared.settings import Settings

ALEMBIC_TABLE = "alembic_version"
# What the text of a value depends on, besides the value.
_FORMATS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "client_encoding": "UTF8",
}


@contextmanager
def copying_engine(settings: Settings) -> Iterator[Engine]:
    """An engine whose connections can COPY; within the block this process waits without limit.

    psycopg2 copies nothing while a callback waits in its place, as `create_database` has it. So
    this is for a process of its own, with no other connection in use.
    """
    callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    formats = " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in _FORMATS.items()
    )
    engine = create_engine(
        settings.database_url.get_secret_value(),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"options": formats},
    )
    try:
        yield engine
    finally:
        engine.dispose()
        extensions.set_wait_callback(callback)


@contextmanager
def removals_kept_out(engine: Engine, *, patience_seconds: float) -> Iterator[None]:
    """Wait for removals of objects that are under way, then keep them out within the block.

    Raises:
        RemovalsGoOnError: They did not end in time.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"SET lock_timeout = {int(patience_seconds * 1000)}"))
        try:
            connection.execute(select(func.pg_advisory_lock(REMOVAL_LOCK)))
        except OperationalError as error:
            raise RemovalsGoOnError from error
        yield


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """The database as it is at one moment, whatever is written within the block."""
    with engine.connect() as connection:
        frozen = connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        with frozen.begin():
            yield frozen


def moment(connection: Connection) -> dt.datetime:
    """When the transaction began, by the database's clock."""
    found: dt.datetime = connection.execute(select(func.now())).scalar_one()
    return found


def tables_of(connection: Connection) -> MetaData:
    """The tables that are there, whatever release made them, but for Alembic's own."""
    metadata = MetaData()
    metadata.reflect(connection)
    if ALEMBIC_TABLE in metadata.tables:
        metadata.remove(metadata.tables[ALEMBIC_TABLE])
    return metadata
