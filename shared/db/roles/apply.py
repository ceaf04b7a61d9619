"""Gives a database its roles, as the table has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import encrypt_password
from sqlalchemy import Engine

from shared.db.migrate import lock_schema
from shared.db.roles.table import GRANTS, Role, role_name
from shared.errors import ConflictError

# Each would let a role do what the table of grants does not name.
_POWERS = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
_MIGHTY = f"""
    SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND ({_POWERS} OR EXISTS (
        SELECT 1 FROM pg_auth_members WHERE member = pg_roles.oid
    )) ORDER BY rolname
"""  # noqa: S608 - two constants
_TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""
# A column's sequence depends on it: 'a' is a serial's, 'i' an identity's.
_SEQUENCES = """
    SELECT owner.relname, sequence.relname FROM pg_depend
    JOIN pg_class AS sequence ON sequence.oid = objid AND sequence.relkind = 'S'
    JOIN pg_class AS owner ON owner.oid = refobjid
    WHERE deptype IN ('a', 'i') AND sequence.relnamespace = 'public'::regnamespace
"""


class DatabaseRoleError(ConflictError):
    """A database role may do more than it is granted here."""

    code = "database_role_too_mighty"


def apply_roles(engine: Engine, passwords: Mapping[Role, str]) -> None:
    """Make the roles that have a password, and grant each role of the database what is its own.

    A role that somebody made otherwise, without a password here, is granted the same. Where there
    is no role at all nothing changes: the owner does everything. It may be repeated, under a
    running service too, which sees all of it or nothing.

    Args:
        engine: Connects as the owner, which may create roles.
        passwords: By role.

    Raises:
        DatabaseRoleError: A role is a superuser, the like, or a member of another role.
    """
    with engine.begin() as connection:
        lock_schema(connection)
        # The driver's own: it quotes names and hashes passwords.
        cursor = connection.connection.cursor()
        for role, password in passwords.items():
            _make(cursor, role_name(role), password)
        found = _rows(cursor, "SELECT rolname FROM pg_roles")
        roles = {role: role_name(role) for role in Role if (role_name(role),) in found}
        if roles:
            _refuse_mighty(cursor, list(roles.values()))
            _close(cursor, list(roles.values()))
            _grant(cursor, roles)


def _make(cursor: Any, name: str, password: str) -> None:
    if not _rows(cursor, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    # Hashed here: a log of statements shows what no client can sign in with.
    verifier = encrypt_password(password, name, cursor.connection, "scram-sha-256")
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
    cursor.execute(statement.format(sql.Identifier(name), sql.Literal(verifier)))


def _refuse_mighty(cursor: Any, names: list[str]) -> None:
    mighty = [name for (name,) in _rows(cursor, _MIGHTY, names)]
    if mighty:
        raise DatabaseRoleError(", ".join(mighty))


def _close(cursor: Any, names: list[str]) -> None:
    """Take from everybody, and from our roles, what the defaults or an earlier table gave."""
    (database,) = _rows(cursor, "SELECT current_database()")[0]
    for target in (
        sql.SQL("DATABASE {}").format(sql.Identifier(database)),
        sql.SQL("SCHEMA public"),
        sql.SQL("ALL TABLES IN SCHEMA public"),
        sql.SQL("ALL SEQUENCES IN SCHEMA public"),
    ):
        everybody = [sql.SQL("PUBLIC"), *map(sql.Identifier, names)]
        statement = sql.SQL("REVOKE ALL ON {} FROM {}")
        cursor.execute(statement.format(target, sql.SQL(", ").join(everybody)))
    ours = sql.SQL(", ").join(map(sql.Identifier, names))
    connect = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
    cursor.execute(connect.format(sql.Identifier(database), ours))
    cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(ours))


def _grant(cursor: Any, roles: Mapping[Role, str]) -> None:
    tables = {name for (name,) in _rows(cursor, _TABLES)}
    sequences = _rows(cursor, _SEQUENCES)
    for role, name in roles.items():
        lines = {table: text for table, text in GRANTS[role].items() if table in tables}
        for table, privileges in lines.items():
            _give(cursor, privileges, f"TABLE public.{table}", name)
        for table, sequence in sequences:
            if "INSERT" in lines.get(table, ""):
                _give(cursor, "USAGE", f"SEQUENCE public.{sequence}", name)
            elif role is Role.BACKUP:
                _give(cursor, "SELECT", f"SEQUENCE public.{sequence}", name)


def _give(cursor: Any, privileges: str, target: str, name: str) -> None:
    statement = sql.SQL(f"GRANT {privileges} ON {target} TO {{}}")
    cursor.execute(statement.format(sql.Identifier(name)))


def _rows(cursor: Any, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    cursor.execute(statement, parameters)
    return list(cursor.fetchall())
