"""A migration keeps nobody waiting behind it, however long a table is in use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from shared.db import migrate
from shared.db.migrate import MigrationBlockedError, upgrade
from shared.settings import Settings
from tests.integration.backups import a_place
from tests.waiting import eventually

LIMIT = {"lock_seconds": 0.3}


@pytest.fixture
def older(settings: Settings) -> Iterator[Engine]:
    """A database before a migration that changes the table of keys."""
    with a_place(settings, "migrations_in_use") as place:
        upgrade(place.engine, "0001")
        yield place.engine


def revision(engine: Engine) -> str:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT version_num FROM alembic_version"))


def waits(engine: Engine) -> bool:
    """Whether somebody waits for the table, and so whoever comes later would wait behind."""
    with engine.connect() as connection:
        query = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'api_keys'::regclass"
        return connection.scalar(text(query)) is not None


def test_a_service_goes_on_while_a_migration_waits_for_a_long_transaction(older: Engine) -> None:
    service = create_engine(older.url, connect_args={"options": "-c statement_timeout=5s"})
    with ThreadPoolExecutor(1) as pool, older.connect() as report:
        report.execute(text("SELECT count(*) FROM api_keys"))
        migrating = pool.submit(upgrade, older, "0002", **LIMIT)
        for number in range(3):
            eventually(lambda: waits(service))
            with service.begin() as connection:
                values = f"('{number}', 'k', 'x', '{{}}')"
                insert = "INSERT INTO api_keys (id, name, secret_sha256, scopes) VALUES "
                connection.execute(text(insert + values))
        assert not migrating.done()
        assert revision(service) == "0001"
        report.rollback()
        migrating.result(timeout=60)
    assert revision(service) == "0002"
    service.dispose()


def test_a_migration_that_finds_no_moment_gives_up_and_can_be_repeated(older: Engine) -> None:
    with older.connect() as report:
        report.execute(text("SELECT count(*) FROM api_keys"))
        with pytest.raises(MigrationBlockedError):
            upgrade(older, "0004", **LIMIT, patience_seconds=0.5)
    assert revision(older) == "0001"
    upgrade(older, "0004", **LIMIT)
    assert revision(older) == "0004"
    with older.connect() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "0"


CONCURRENT = """
from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = depends_on = None


def upgrade():
    with op.get_context().autocommit_block():
        op.drop_index("ix_late", "jobs", if_exists=True, postgresql_concurrently=True)
        op.create_index("ix_late", "jobs", ["worker"], postgresql_concurrently=True)
"""


def test_an_index_is_made_without_a_limit_while_the_table_is_in_use(
    older: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(migrate._MIGRATIONS, folder)
    for later in list((folder / "versions").glob("*.py")):
        if later.name > "0002":
            later.unlink()
    (folder / "versions" / "9999_late.py").write_text(CONCURRENT.format(head="0001"))
    monkeypatch.setattr(migrate, "_MIGRATIONS", folder)
    with ThreadPoolExecutor(1) as pool, older.connect() as writer:
        writer.execute(text("LOCK TABLE jobs IN ROW EXCLUSIVE MODE"))
        migrating = pool.submit(upgrade, older, lock_seconds=0.1, patience_seconds=0)
        with pytest.raises(TimeoutError):
            migrating.result(timeout=1)
        writer.rollback()
        migrating.result(timeout=60)
    with older.connect() as connection:
        query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_late'::regclass"
        assert connection.scalar(text(query)) is True
    assert revision(older) == "9999"
