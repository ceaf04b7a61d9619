"""`apply_roles` sets a database up, again and again, and refuses what it cannot vouch for."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Engine, create_engine, text

from shared.db.migrate import upgrade
from shared.db.roles.apply import DatabaseRoleError, apply_roles
from shared.db.roles.table import Role, role_name
from shared.local.servers import LocalServers
from shared.settings import Settings
from tests.integration.roles.conftest import PASSWORDS, a_database, sign_in_as

WORKER = role_name(Role.WORKER)
EVENT = "INSERT INTO audit_events (actor, action) VALUES ('worker', 'tried')"


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def our_roles(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        query = text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'hemotriage\\_%'")
        return set(connection.scalars(query))


def test_without_passwords_there_are_no_roles_and_nothing_changes(fresh: Engine) -> None:
    apply_roles(fresh, {})
    assert our_roles(fresh) == set()
    with fresh.connect() as connection:
        everybody = "SELECT has_database_privilege('pg_monitor', current_database(), 'CONNECT')"
        assert connection.scalar(text(everybody)) is True


def test_a_role_signs_in_with_its_newest_password_alone(fresh: Engine) -> None:
    apply_roles(fresh, PASSWORDS)
    apply_roles(fresh, {Role.WORKER: "another-password"})
    sign_in_as(fresh, WORKER, "another-password").close()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        sign_in_as(fresh, WORKER, PASSWORDS[Role.WORKER])
    sign_in_as(fresh, role_name(Role.API), PASSWORDS[Role.API]).close()


def test_what_was_granted_by_hand_is_taken_back(fresh: Engine) -> None:
    apply_roles(fresh, PASSWORDS)
    run(
        fresh,
        f"GRANT DELETE ON audit_events TO {WORKER}",
        f"GRANT UPDATE (actor) ON audit_events TO {WORKER}",
        "GRANT SELECT ON api_keys TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
    )
    apply_roles(fresh, {})
    worker = sign_in_as(fresh, WORKER, PASSWORDS[Role.WORKER])
    worker.cursor().execute(EVENT)
    for statement in (
        "DELETE FROM audit_events",
        "UPDATE audit_events SET actor = ''",
        "SELECT id FROM api_keys",
        "CREATE TABLE own (id int)",
    ):
        with pytest.raises(InsufficientPrivilege):
            worker.cursor().execute(statement)
    worker.close()


def test_a_role_that_somebody_made_otherwise_is_granted_the_same(fresh: Engine) -> None:
    run(fresh, f"CREATE ROLE {WORKER} LOGIN PASSWORD 'of the administrator'")
    apply_roles(fresh, {})
    assert our_roles(fresh) == {WORKER}
    worker = sign_in_as(fresh, WORKER, "of the administrator")
    worker.cursor().execute(EVENT)
    worker.close()


@pytest.mark.parametrize(
    "power",
    [
        f"ALTER ROLE {WORKER} SUPERUSER",
        f"ALTER ROLE {WORKER} CREATEROLE",
        f"ALTER ROLE {WORKER} BYPASSRLS",
        f"GRANT pg_write_all_data TO {WORKER}",
    ],
)
def test_a_role_that_may_do_more_than_its_grants_is_refused(fresh: Engine, power: str) -> None:
    apply_roles(fresh, PASSWORDS)
    run(fresh, power)
    with pytest.raises(DatabaseRoleError, match=WORKER):
        apply_roles(fresh, {})


def test_no_password_is_in_the_log_of_statements(fresh: Engine, servers: LocalServers) -> None:
    run(fresh, f"ALTER DATABASE {fresh.url.database} SET log_statement = 'all'")
    fresh.dispose()
    apply_roles(fresh, PASSWORDS)
    log = servers.postgres.spec.log.read_text(errors="replace")
    assert f'ALTER ROLE "{WORKER}" PASSWORD \'SCRAM-SHA-256$' in log
    assert not [password for password in PASSWORDS.values() if password in log]


@pytest.fixture
def managed(settings: Settings, database: Engine) -> Iterator[Engine]:
    """A database whose owner is no superuser, as with a provider."""
    run(
        database,
        "DROP ROLE IF EXISTS managed_owner",
        "CREATE ROLE managed_owner LOGIN CREATEROLE PASSWORD 'of the owner'",
    )
    with a_database(settings, "managed_owner") as engine:
        url = engine.url.set(username="managed_owner", password="of the owner")
        owner = create_engine(url)
        yield owner
        owner.dispose()
    run(database, "DROP ROLE managed_owner")


def test_an_owner_that_is_no_superuser_suffices(managed: Engine) -> None:
    upgrade(managed)
    apply_roles(managed, PASSWORDS)
    apply_roles(managed, PASSWORDS)
    worker = sign_in_as(managed, WORKER, PASSWORDS[Role.WORKER])
    worker.cursor().execute(EVENT)
    with pytest.raises(InsufficientPrivilege):
        worker.cursor().execute("SELECT * FROM api_keys")
    worker.close()
