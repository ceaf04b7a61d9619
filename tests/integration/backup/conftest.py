"""A place to back up, and an empty one to restore into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from shared.backup.database import tables_of
from shared.db.migrate import upgrade
from shared.settings import Settings
from tests.filled import fill
from tests.integration.backups import Place, a_place


@pytest.fixture(scope="module")
def migrated(settings: Settings) -> Iterator[Place]:
    """A place at the newest revision."""
    with a_place(settings, "backup_source") as place:
        upgrade(place.engine)
        yield place


@pytest.fixture
def source(migrated: Place) -> Place:
    """A place with rows in every table, and the objects that they name."""
    with migrated.engine.begin() as connection:
        names = ", ".join(tables_of(connection).tables)
        # The audit trail is append-only for whoever does not say so.
        connection.execute(text("SET LOCAL hemotriage.audit_prune = 'on'"))
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        fill(connection, 0)
    migrated.remove_objects()
    migrated.put_objects(0)
    return migrated


@pytest.fixture
def target(settings: Settings) -> Iterator[Place]:
    """An empty place."""
    with a_place(settings, "backup_target") as place:
        yield place
