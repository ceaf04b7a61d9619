"""A cluster's roles, and databases that they come into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from psycopg2 import extensions
from sqlalchemy import Engine, create_engine, make_url, text

from shared.db.migrate import upgrade
from shared.db.roles.apply import apply_roles
from shared.db.roles.table import Role, role_name
from shared.db.session import Sessions, create_database, create_sessions
from shared.settings import Settings
from tests.conftest import settings_of

PASSWORDS = {role: f"password-of-{role}" for role in Role}
DATABASE = "roles_test"

Connect = Callable[[Role], extensions.connection]


@contextmanager
def a_database(settings: Settings, owner: str = "hemotriage") -> Iterator[Engine]:
    """An empty database; the cluster has none of the roles, before and after."""
    url = make_url(settings.database_url.get_secret_value())
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:

        def clear() -> None:
            connection.execute(text(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))
            for role in Role:
                connection.execute(text(f"DROP ROLE IF EXISTS {role_name(role)}"))

        clear()
        connection.execute(text(f"CREATE DATABASE {DATABASE} OWNER {owner}"))
        engine = create_engine(url.set(database=DATABASE))
        try:
            yield engine
        finally:
            engine.dispose()
            clear()
    admin.dispose()


@pytest.fixture
def fresh(settings: Settings) -> Iterator[Engine]:
    """A migrated database of a cluster without roles."""
    with a_database(settings) as engine:
        upgrade(engine)
        yield engine


@pytest.fixture(scope="module")
def owned(settings: Settings) -> Iterator[Engine]:
    """A migrated database with its roles, as its owner sees it."""
    with a_database(settings) as engine:
        upgrade(engine)
        apply_roles(engine, PASSWORDS)
        yield engine


@pytest.fixture
def connect(owned: Engine) -> Iterator[Connect]:
    """Signs in as a role."""
    made: list[extensions.connection] = []

    def sign_in(role: Role) -> extensions.connection:
        made.append(sign_in_as(owned, role_name(role), PASSWORDS[role]))
        return made[-1]

    yield sign_in
    for connection in made:
        connection.close()


def sign_in_as(engine: Engine, user: str, password: str) -> extensions.connection:
    url = engine.url.set(drivername="postgresql", username=user, password=password)
    connection = psycopg2.connect(url.render_as_string(hide_password=False))
    connection.autocommit = True
    return connection


def of_role(owned: Engine, settings: Settings, role: Role) -> Sessions:
    """Sessions of a role, in a database that has its grants."""
    url = owned.url.set(username=role_name(role), password=PASSWORDS[role])
    shown = url.render_as_string(hide_password=False)
    own = settings_of({}, **{**settings.model_dump(), "database_url": shown})
    return create_sessions(create_database(own, pool_size=2))
