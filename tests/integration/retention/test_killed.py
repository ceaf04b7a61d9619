"""A purge that is killed midway leaves nothing half done that the next pass does not end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from shared.audit.queries import AuditFilter, list_events
from shared.db.models import JobImageRow, JobRow, ObjectRemovalRow, PurgeRow, RemovedJobRow
from shared.db.session import Sessions
from shared.local.servers import LocalServers
from shared.storage import JOBS_PREFIX
from shared.storage.s3 import S3Store
from tests.integration.jobs import count
from tests.integration.retention.conftest import Purging
from tests.integration.retention.patients import a_result_of

JOBS = 12

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

SLOW = """
import datetime as dt, sys, time
from shared.db.session import create_database, create_sessions
from shared.retention.purge import Purge
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.retention.policy import Kind, RetentionPolicy, Rule

settings = Settings()
sessions = create_sessions(create_database(settings, pool_size=1))
storage = S3Store(settings, pool_size=1)
rules = {kind: Rule(keep="0 days" if kind == "jobs" else "forever", reason="-") for kind in Kind}
policy = RetentionPolicy(version="1", rules=rules)
delete = storage.delete
left = iter(range(5))
def slowly(key):
    print(key, flush=True)
    if next(left, None) == 4:
        time.sleep(600)  # it is killed here
    delete(key)
storage.delete = slowly
Purge(sessions, storage, again_after=dt.timedelta(0), batch=3)(policy)
"""
"""A purge that tells of each object before it removes it."""


def test_a_purge_that_is_killed_goes_on_where_it_was(
    servers: LocalServers, sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    jobs = [a_result_of(sessions, storage, key_id) for _ in range(JOBS)]
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        env={**os.environ, **servers.environment()},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    for _ in range(5):
        assert running.stdout.readline()
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    time.sleep(0.1)

    left = count(sessions, JobRow)
    assert 0 < left < JOBS, "it was killed in the middle"
    assert count(sessions, JobImageRow) == left, "no job is half removed"
    assert count(sessions, RemovedJobRow) == JOBS - left
    assert count(sessions, ObjectRemovalRow) > 0, "objects of removed jobs are still to go"

    assert purge(jobs="0 days")["jobs"].removed == left
    ids = {str(job.id) for job in jobs}
    keys = [found.key for found in storage.list(JOBS_PREFIX, after=JOBS_PREFIX)]
    assert [key for key in keys if key.split("/")[1] in ids] == []
    assert count(sessions, JobRow) == 0
    with sessions() as session:
        assert session.scalar(select(func.sum(PurgeRow.removed))) == JOBS
    events = list_events(sessions, AuditFilter(action="retention.purged"), limit=99).events
    told = [one for event in events for one in event.details["jobs"]]
    assert sorted(told) == sorted(ids), "each job is told of once"
