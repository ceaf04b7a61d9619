"""Migrations leave the service working: no table is rewritten or kept, and nothing is taken from
processes of the release before, which still run. docs/upgrade.md has the rules."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory

from shared.db.migrate import alembic_config

SCRIPTS = {
    script.revision: script
    for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()
}
SQUAWK = Path(sys.executable).parent / "squawk"

OF_TASTE = ("prefer-text-field", "prefer-bigint-over-int", "prefer-identity")
"""Rules that tell of no outage."""

BY_MIGRATE = ("require-lock-timeout", "require-statement-timeout")
"""`shared.db.migrate` sets the limit of locks for all; what it bounds is what others wait for."""

LOCKS_WRITERS_OUT = {"constraint-missing-not-valid", "require-concurrent-index-creation"}
EXCEPTIONS = {
    # Before there were rules, and before any database was large.
    "0002": LOCKS_WRITERS_OUT | {"ban-drop-constraint", "require-concurrent-index-deletion"},
    "0004": {"require-concurrent-index-creation"},
    "0009": LOCKS_WRITERS_OUT | {"adding-foreign-key-constraint", "disallowed-unique-constraint"},
    "0011": LOCKS_WRITERS_OUT | {"adding-foreign-key-constraint", "adding-field-with-default"},
    # The check is on `datasets`, of which there are few.
    "0015": {"constraint-missing-not-valid"},
    # The unique constraints must go, or two tenants could not use one accession number; the release
    # before names neither. The checks are on `api_keys`, of which there are few.
    "0016": {"ban-drop-constraint", "constraint-missing-not-valid", "disallowed-unique-constraint"},
}
"""By revision; a new one needs its reason here."""


def statements(script: Script) -> str:
    """What a migration sends to the database."""
    sent = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": sent}
    )
    with Operations.context(context):
        script.module.upgrade()
    return sent.getvalue()


def broken_rules(sql: str) -> set[str]:
    done = subprocess.run(
        [
            SQUAWK,
            "--pg-version=18.0",
            "--reporter=json",
            *(f"--exclude={rule}" for rule in (*OF_TASTE, *BY_MIGRATE)),
        ],
        # What is made outside of it ends the transaction, and begins the next one.
        input=f"BEGIN;\n{sql}\nCOMMIT;",
        capture_output=True,
        text=True,
        check=False,
    )
    return {problem["rule_name"] for problem in json.loads(done.stdout)}


@pytest.mark.parametrize("revision", sorted(SCRIPTS))
def test_a_migration_keeps_the_rules(revision: str) -> None:
    assert broken_rules(statements(SCRIPTS[revision])) == EXCEPTIONS.get(revision, set())


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("ALTER TABLE jobs DROP COLUMN worker;", "ban-drop-column"),
        ("DROP TABLE outbox;", "ban-drop-table"),
        ("ALTER TABLE jobs RENAME COLUMN worker TO host;", "renaming-column"),
        ("ALTER TABLE jobs RENAME TO cases;", "renaming-table"),
        ("ALTER TABLE jobs ADD COLUMN site text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE jobs ALTER COLUMN worker SET NOT NULL;", "adding-not-nullable-field"),
        ("ALTER TABLE jobs ALTER COLUMN attempts TYPE bigint;", "changing-column-type"),
        ("ALTER TABLE jobs ADD CONSTRAINT c CHECK (attempts < 9);", "constraint-missing-not-valid"),
        ("CREATE INDEX i ON jobs (worker);", "require-concurrent-index-creation"),
    ],
)
def test_what_would_stop_the_service_is_found(sql: str, rule: str) -> None:
    assert rule in broken_rules(sql)


def test_a_column_that_the_release_before_can_leave_out_is_allowed() -> None:
    assert broken_rules("ALTER TABLE jobs ADD COLUMN site text;") == set()
    assert broken_rules("ALTER TABLE jobs ADD COLUMN sent bool DEFAULT false NOT NULL;") == set()
