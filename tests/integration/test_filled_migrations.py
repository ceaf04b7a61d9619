"""Migrations forward and back on a database that is in use: what must survive survives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from shared.db.migrate import alembic_config, downgrade, upgrade
from shared.db.models import Base
from shared.settings import PROJECT_ROOT, Settings
from tests.filled import everything, fill, in_order
from tests.integration.backups import a_place

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

Everything = dict[str, list[Mapping[str, Any]]]

REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions()))
]
CATALOGUE = {
    "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default, "
    "generation_expression FROM information_schema.columns WHERE table_schema = 'public'",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid), tgenabled "
    "FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
}


@pytest.fixture(scope="module")
def empty(settings: Settings) -> Iterator[Engine]:
    """A database of its own, without tables."""
    with a_place(settings, "migrations_filled") as place:
        yield place.engine


@pytest.fixture(scope="module")
def filled(empty: Engine) -> Engine:
    """A database that has come up from the first revision, with rows of every one on the way."""
    earlier: Everything = {}
    for mark, revision in enumerate(REVISIONS):
        upgrade(empty, revision)
        with empty.begin() as connection:
            found = everything(connection)
            assert without_others(found, earlier) == earlier, f"{revision} changes rows"
            fill(connection, mark)
            earlier = everything(connection)
    return empty


def without_others(found: Everything, wanted: Everything) -> Everything:
    """The tables and columns that another reading has too."""
    return {
        table: in_order(
            {name: value for name, value in row.items() if name in columns(wanted[table])}
            for row in found[table]
        )
        for table in wanted.keys() & found.keys()
    }


def columns(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return set(rows[0]) if rows else set()


def schema(connection: Connection) -> dict[str, set[Any]]:
    """All that the database itself says of its tables."""
    return {part: set(connection.execute(text(query)).all()) for part, query in CATALOGUE.items()}


def documented_losses() -> dict[str, set[str]]:
    """By revision, the tables and columns that going back from it loses."""
    page = (PROJECT_ROOT / "docs" / "upgrade.md").read_text()
    rows = re.findall(r"^\| (\d{4}) \| ([^|]*) \|", page, re.MULTILINE)
    return {revision: set(re.findall(r"`([a-z_.]+)`", lost)) for revision, lost in rows}


def test_rows_of_every_older_revision_reach_the_newest(filled: Engine) -> None:
    with filled.connect() as connection:
        rows = everything(connection)
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        assert compare_metadata(context, Base.metadata) == []
    assert rows.keys() == Base.metadata.tables.keys()
    assert len(rows["jobs"]) == 6 * len(REVISIONS)


def test_going_back_loses_what_is_documented_and_nothing_else_and_forward_again_is_the_same(
    filled: Engine,
) -> None:
    documented = documented_losses()
    with filled.connect() as connection:
        before, newest = everything(connection), schema(connection)
    for revision, target in zip(
        reversed(REVISIONS), [*reversed(REVISIONS[:-1]), "base"], strict=True
    ):
        downgrade(filled, target)
        with filled.connect() as connection:
            after = everything(connection)
        lost = before.keys() - after.keys()
        lost |= {
            f"{table}.{column}"
            for table in before.keys() & after.keys()
            for column in columns(before[table]) - columns(after[table])
        }
        assert lost == documented.get(revision, set()), f"docs/upgrade.md, revision {revision}"
        assert after == without_others(before, after), f"going back from {revision} changes rows"
        before = after
    upgrade(filled)
    with filled.connect() as connection:
        assert schema(connection) == newest
