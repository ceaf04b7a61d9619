"""Each role may do to each table what the table of grants says, and nothing else."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Engine, text

from services.api.metrics import SOURCES
from shared.db.models import Base
from shared.db.roles.table import GRANTS, TABLES, Role, role_name
from shared.settings import Settings
from tests.integration.roles.conftest import Connect, of_role

each_role = pytest.mark.parametrize("role", list(Role))

PRIVILEGES = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "MAINTAIN",
)
AUDIT = {"audit_events": "actor", "audit_seals": "hash", "audit_checkpoints": "hash"}
ON_TABLES = text("""
    SELECT relname, privilege FROM pg_class, unnest(CAST(:privileges AS text[])) AS privilege
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND has_table_privilege(:role, pg_class.oid, privilege)
""")
ON_COLUMNS = text("""
    SELECT relname, privilege, attname FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped,
    unnest(CAST(:privileges AS text[])) AS privilege
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND has_column_privilege(:role, pg_class.oid, attnum, privilege)
    AND NOT has_table_privilege(:role, pg_class.oid, privilege)
""")

Granted = set[tuple[str, ...]]


def tables_of(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        found = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return set(connection.scalars(text(found)))


def written(role: Role, tables: set[str]) -> tuple[Granted, Granted]:
    """What the table of grants says: of whole tables, and of columns."""
    whole, columns = set(), set()
    for table in GRANTS[role].keys() & tables:
        for privilege, part in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", GRANTS[role][table]):
            names = part.split(", ") if part else []
            columns |= {(table, privilege, name) for name in names}
            whole |= set() if names else {(table, privilege)}
    return whole, columns


def test_no_table_is_without_a_line(owned: Engine) -> None:
    tables = tables_of(owned)
    assert tables >= set(Base.metadata.tables)
    assert tables - set(TABLES) == set(), "add it to shared/db/roles/table.py"
    assert {table for lines in GRANTS.values() for table in lines} == set(TABLES)
    assert set(GRANTS) == set(Role)


@each_role
def test_a_role_may_do_what_the_table_says_and_nothing_else(owned: Engine, role: Role) -> None:
    asked = {"role": role_name(role), "privileges": list(PRIVILEGES)}
    of_columns = {**asked, "privileges": ["SELECT", "INSERT", "UPDATE", "REFERENCES"]}
    with owned.connect() as connection:
        whole = {tuple(row) for row in connection.execute(ON_TABLES, asked)}
        columns = {tuple(row) for row in connection.execute(ON_COLUMNS, of_columns)}
    assert (whole, columns) == written(role, tables_of(owned))


def test_the_audit_trail_is_changed_by_nobody_and_shortened_by_retention_alone(
    connect: Connect,
) -> None:
    may = set()
    for role in Role:
        cursor = connect(role).cursor()
        # Anybody may say so: what holds then are the grants.
        cursor.execute("SET hemotriage.audit_prune = 'on'")
        for table, column in AUDIT.items():
            for statement in (f"UPDATE {table} SET {column} = {column}", f"TRUNCATE {table}"):
                with pytest.raises(InsufficientPrivilege, match="permission denied"):
                    cursor.execute(statement)
            with suppress(InsufficientPrivilege):
                cursor.execute(f"DELETE FROM {table}")
                may.add((role, table))
    assert may == {(Role.RETENTION, table) for table in AUDIT}


@each_role
def test_no_role_chooses_an_events_id_and_the_api_alone_its_time(
    connect: Connect, role: Role
) -> None:
    cursor = connect(role).cursor()
    for column, value in (("id", "1"), ("at", "now()")):
        if (column, role) == ("at", Role.API):
            continue
        with pytest.raises(InsufficientPrivilege):
            cursor.execute(
                f"INSERT INTO audit_events ({column}, actor, action) VALUES ({value}, 'a', 'b')"
            )


@each_role
def test_no_role_changes_the_schema_or_becomes_another(connect: Connect, role: Role) -> None:
    cursor = connect(role).cursor()
    for statement in (
        "CREATE TABLE own (id int)",
        "CREATE TEMPORARY TABLE own (id int)",
        "CREATE SCHEMA own",
        "CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "ALTER TABLE jobs ADD COLUMN own int",
        "DROP TABLE audit_events",
        "CREATE INDEX own ON jobs (status)",
        "CREATE ROLE own",
        "CREATE DATABASE own",
        "SET ROLE hemotriage",
        "SET SESSION AUTHORIZATION hemotriage",
        "SET session_replication_role = replica",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ):
        with pytest.raises(InsufficientPrivilege):
            cursor.execute(statement)


def test_the_hash_of_a_keys_secret_is_for_who_checks_it_and_for_backups(connect: Connect) -> None:
    may = set()
    for role in Role:
        try:
            connect(role).cursor().execute("SELECT secret_sha256 FROM api_keys")
            may.add(role)
        except InsufficientPrivilege:
            pass
    assert may == {Role.API, Role.BACKUP}


def test_no_key_is_given_more_than_it_was_made_with(connect: Connect) -> None:
    for role in Role:
        for column in ("scopes", "secret_sha256", "allowed_hosts", "issuer", "subject"):
            with pytest.raises(InsufficientPrivilege):
                connect(role).cursor().execute(f"UPDATE api_keys SET {column} = {column}")


def test_the_api_may_read_all_that_its_metrics_show(owned: Engine, settings: Settings) -> None:
    sessions = of_role(owned, settings, Role.API)
    for families in SOURCES:
        list(families(sessions))


def test_what_is_not_a_role_of_ours_may_not_even_connect(owned: Engine) -> None:
    asked = text("SELECT has_database_privilege('pg_monitor', current_database(), 'CONNECT')")
    with owned.connect() as connection:
        assert connection.scalar(asked) is False
