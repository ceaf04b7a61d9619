"""However many jobs wait, a pass of the relay reads only those that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from shared.jobs.outbox import send_due
from shared.jobs.states import Priority
from shared.jobs.sweep import announce_lost, sweep_expired, sweep_leases
from tests.integration.jobs import LIMITS, Recorder

MOMENT = "statement_timestamp()"
JOBS = """
    INSERT INTO jobs (
        id, api_key_id, request_sha256, priority, model_name, model_version, submitted_at,
        queued_at, expires_at, status, worker, lease_expires_at
    )
    SELECT gen_random_uuid(), :key_id, repeat('0', 64), priority, 'cnn_custom', 1, now(),
        now() + i * interval '1 ms', now() + interval '1 day', status,
        CASE status WHEN 'running' THEN 'w' END,
        CASE status WHEN 'running' THEN now() + interval '1 minute' END
    FROM generate_series(1, 2000) AS i, unnest(CAST(:priorities AS text[])) AS priority,
        unnest(ARRAY['queued', 'running']) AS status
"""
MESSAGES = """
    INSERT INTO outbox (id, job_id, queue, send_after)
    SELECT row_number() OVER (), id, priority, queued_at + interval '10 s' FROM jobs
"""


class Emptied:
    """A broker without a message."""

    def oldest(self, queue: str) -> None:
        del queue


@pytest.fixture
def searches(database: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that compare rows with the moment."""
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT") and "_timestamp()" in statement:
            seen.append((statement, parameters))

    event.listen(database, "before_cursor_execute", note)
    yield seen
    event.remove(database, "before_cursor_execute", note)


def conditions(plan: dict[str, Any]) -> Iterator[str]:
    """What is searched in the indexes of a plan."""
    yield plan.get("Index Cond", "")
    for part in plan.get("Plans", ()):
        yield from conditions(part)


def fill(connection: Connection, key_id: str) -> None:
    """Have jobs wait and run whose time has not come."""
    connection.execute(text(JOBS), {"key_id": key_id, "priorities": list(Priority)})
    connection.execute(text(MESSAGES))
    for table in ("jobs", "outbox"):
        connection.execute(text(f"ANALYZE {table}"))


def test_each_search_by_time_is_one_in_an_index(sessions, database, key_id, searches) -> None:
    sweep_leases(sessions, **LIMITS)
    sweep_expired(sessions)
    announce_lost(sessions, Emptied(), after_seconds=10)
    with sessions.begin() as session:
        send_due(session, Recorder(), limit=10)
    assert len(searches) == 3 + len(Priority)
    with database.connect() as connection:
        fill(connection, key_id)
        for statement, parameters in searches:
            explained = f"EXPLAIN (FORMAT JSON) {statement}"
            ((plan,),) = connection.exec_driver_sql(explained, parameters).all()
            assert any(MOMENT in searched for searched in conditions(plan[0]["Plan"])), plan
