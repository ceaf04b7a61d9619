"""The migrations make the schema that the models describe, and take it back."""

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from shared.db.migrate import downgrade, revision_of, upgrade
from shared.db.models import Base
from shared.db.session import create_database
from shared.local.servers import LocalServers
from shared.settings import Settings
from tests.command_line import command_line


@pytest.fixture
def empty_database(database: Engine, settings: Settings) -> Iterator[Engine]:
    """A database of its own, so that the one of the other tests stays as it is."""
    # Both make a checkpoint, which takes as long as the disk is busy with what was written before.
    patient = create_database(settings, pool_size=1, patient=True)
    with patient.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrations_test WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE migrations_test"))
    patient.dispose()
    engine = create_engine(database.url.set(database="migrations_test"))
    yield engine
    engine.dispose()


def test_migrations_and_models_agree(empty_database: Engine) -> None:
    upgrade(empty_database)
    with empty_database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        assert compare_metadata(context, Base.metadata) == []


def test_migrate_leaves_the_schema_of_a_newer_release_as_it_is(
    empty_database: Engine, servers: LocalServers
) -> None:
    upgrade(empty_database)
    with empty_database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    address = empty_database.url.render_as_string(hide_password=False)
    environment = {**servers.environment(), "HEMOTRIAGE_DATABASE_URL": address}
    done = command_line("migrate", **environment)
    assert (done.returncode, "9999, of a newer release" in done.stderr) == (0, True), done.stderr
    with empty_database.connect() as connection:
        assert revision_of(connection) == "9999"


def test_migrations_go_forward_and_back_and_may_be_repeated(empty_database: Engine) -> None:
    upgrade(empty_database)
    upgrade(empty_database)
    assert "jobs" in inspect(empty_database).get_table_names()
    downgrade(empty_database, "base")
    assert inspect(empty_database).get_table_names() == ["alembic_version"]


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'done', finished_at = now()", "ck_jobs_status_known"),
        ("status = 'running'", "ck_jobs_lease_while_running"),
        ("status = 'succeeded'", "ck_jobs_finished_when_ended"),
        ("status = 'failed', finished_at = now()", "ck_jobs_failure_has_code"),
        ("priority = 'soon'", "ck_jobs_priority_known"),
    ],
)
def test_the_database_itself_refuses_an_impossible_job(
    empty_database: Engine, change: str, constraint: str
) -> None:
    upgrade(empty_database)
    with empty_database.begin() as connection:
        connection.execute(
            text("INSERT INTO api_keys (id, name, secret_sha256, scopes) VALUES ('k','k','x','{}')")
        )
        connection.execute(
            text(
                "INSERT INTO jobs (id, api_key_id, request_sha256, priority, model_name, "
                "model_version) VALUES (gen_random_uuid(), 'k', '', 'stat', 'm', 1)"
            )
        )
    with pytest.raises(IntegrityError, match=constraint), empty_database.begin() as connection:
        connection.execute(text(f"UPDATE jobs SET {change}"))
