"""Brings the database to the newest schema, without standing in the way of whoever works with it.

A migration that waits for a lock on a table makes all others wait behind it. So it waits for two
seconds at most, less than a service waits for an answer, gives up its place, and tries again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg2 import errorcodes
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import OperationalError

from shared.errors import TransientError

_log = logging.getLogger(__name__)
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 727401
_PAUSE_SECONDS = 1.0
_IN_USE = (errorcodes.LOCK_NOT_AVAILABLE, errorcodes.DEADLOCK_DETECTED)


class MigrationBlockedError(TransientError):
    """A migration finds a table in use by long transactions, again and again."""

    code = "migration_blocked"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE


def alembic_config() -> Config:
    """Alembic's configuration, with no ini file."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def upgrade(
    engine: Engine,
    revision: str = "head",
    *,
    lock_seconds: float = 2.0,
    patience_seconds: float = 600.0,
) -> None:
    """Apply every missing migration, each in a transaction of its own.

    Any number of starting processes may call this at once: one works, the others wait for it.

    Args:
        engine: The database.
        revision: The newest to apply.
        lock_seconds: How long a migration may keep others waiting for a table.
        patience_seconds: How long it is tried again while tables are in use.

    Raises:
        MigrationBlockedError: Some table was in use all that time. What was applied before stays.
    """
    _migrate(engine, command.upgrade, revision, lock_seconds, patience_seconds)


def is_known(revision: str | None) -> bool:
    """Whether a revision is none yet, or one that this release has; else it is of a newer one."""
    try:
        ScriptDirectory.from_config(alembic_config()).get_revision(revision or "base")
    except CommandError:
        return False
    return True


def revision_of(connection: Connection) -> str | None:
    """The schema's revision; None in an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def lock_schema(connection: Connection) -> None:
    """Wait for whoever changes the schema, and keep others from it until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def downgrade(
    engine: Engine, revision: str, *, lock_seconds: float = 2.0, patience_seconds: float = 600.0
) -> None:
    """Take migrations back, as `upgrade` applies them."""
    _migrate(engine, command.downgrade, revision, lock_seconds, patience_seconds)


def _migrate(
    engine: Engine,
    do: Callable[[Config, str], None],
    revision: str,
    lock_seconds: float,
    patience_seconds: float,
) -> None:
    config = alembic_config()
    deadline = time.monotonic() + patience_seconds
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        # Whoever else migrates is waited for without limit, and outside of a transaction: an index
        # that is made concurrently waits for all who are in one.
        while not connection.scalar(select(func.pg_try_advisory_lock(_LOCK))):
            connection.rollback()
            time.sleep(_PAUSE_SECONDS)
        connection.commit()
        _limit_locks(connection, lock_seconds)
        try:
            while not _applied(connection, lambda: do(config, revision)):
                if time.monotonic() > deadline:
                    raise MigrationBlockedError
                _log.warning("a migration waits for a table in use")
                time.sleep(_PAUSE_SECONDS)
        finally:
            # It goes back to the pool, and the lock must not stay with it.
            connection.rollback()
            connection.invalidate()


def _limit_locks(connection: Connection, seconds: float) -> None:
    """Limit how long each transaction waits for a lock.

    Outside of one, as an index is made that keeps nobody out, there is no limit.
    """

    def limit(begun: Connection) -> None:
        driver: Any = begun.connection.driver_connection
        if driver.autocommit:
            return
        with driver.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {int(seconds * 1000)}")

    event.listen(connection, "begin", limit)


def _applied(connection: Connection, apply: Callable[[], None]) -> bool:
    """Whether all of it was done; False where a table was in use."""
    try:
        apply()
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) not in _IN_USE:
            raise
        connection.rollback()
        return False
    return True
