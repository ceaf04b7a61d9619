"""How a job's cost grows with what lies in the tables already."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from sqlalchemy import text

from shared.db.session import Sessions, create_database, create_sessions, execute
from tests.bench.load import closed_loop, triage
from tests.bench.report import Report
from tests.bench.service import encoded_fields, running
from tests.conftest import settings_of
from tests.factories import small_champion

_JOBS = 100
_INSERT = """
    INSERT INTO jobs (
        id, api_key_id, request_sha256, priority, model_name, model_version, status, submitted_at,
        finished_at
    )
    SELECT gen_random_uuid(), (SELECT min(id) FROM api_keys), repeat('0', 64), 'routine',
           'cnn_custom', 1, :status, now() - i * interval '1 ms', {finished}
    FROM generate_series(1, :count) AS i
"""
_RESULTS = """
    INSERT INTO results (job_id, prediction, confidence, urgency, requires_review, policy_version,
                         document)
    SELECT id, 'Benign', 0.97, 'routine', false, '1', '{}' FROM jobs WHERE status = 'succeeded'
    ON CONFLICT DO NOTHING
"""


def depth(report: Report, folder: Path, *, queued: tuple[int, ...], finished: int) -> None:
    """The wait for a stat job beside routine jobs that nobody takes, and beside old results."""
    models = small_champion(folder / "models-of-depth")
    settings = {
        "HEMOTRIAGE_MODELS_DIR": str(models),
        "HEMOTRIAGE_MAX_QUEUED_JOBS": str(10 * max(queued)),
        # What is inserted here has no message, and shall get none.
        "HEMOTRIAGE_REQUEUE_AFTER_SECONDS": "1000000",
    }
    with running(folder / "depth", **settings) as service:
        # A million rows take longer than any statement of the service may.
        database = create_database(settings_of(service.environment()), pool_size=1, patient=True)
        sessions = create_sessions(database)
        ask = triage(service.api_key, priority="stat")
        images = encoded_fields()
        closed_loop(service.url, ask, images, clients=1, count=_JOBS)
        base = closed_loop(service.url, ask, images, clients=1, count=_JOBS)
        report.add("depth", "stat job, empty tables, p50", base.percentile(50), "ms")
        there = 0
        for count in queued:
            _insert(sessions, _INSERT.format(finished="NULL"), count - there, "queued")
            there = count
            run = closed_loop(service.url, ask, images, clients=1, count=_JOBS)
            what = f"stat job, {count:,} jobs queued, p50"
            report.add("depth", what, run.percentile(50), "ms", of=_empty(base.percentile(50)))
        _insert(sessions, _INSERT.format(finished="now()"), finished, "succeeded")
        with sessions.begin() as session:
            session.execute(text(_RESULTS))
        run = closed_loop(service.url, ask, images, clients=1, count=_JOBS)
        what = f"stat job, {finished:,} jobs finished too, p50"
        report.add("depth", what, run.percentile(50), "ms", of=_empty(base.percentile(50)))
        report.add(
            "depth", "list of the newest 50 jobs", _listing(service.url, service.api_key), "ms"
        )


def _insert(sessions: Sessions, statement: str, count: int, status: str) -> None:
    with sessions.begin() as session:
        session.execute(text(statement), {"count": count, "status": status})
    execute(sessions, text("ANALYZE jobs"))


def _empty(milliseconds: float) -> tuple[float, str]:
    return milliseconds, "the same with empty tables"


def _listing(url: str, key: str) -> float:
    waits = []

    def ask(connection: object, _: bytes) -> None:
        began = time.perf_counter()
        connection.request("GET", "/v1/jobs?limit=50", headers={"Authorization": f"Bearer {key}"})  # type: ignore[attr-defined]
        connection.getresponse().read()  # type: ignore[attr-defined]
        waits.append(time.perf_counter() - began)

    closed_loop(url, ask, [b""], clients=1, count=20)
    return float(np.median(waits)) * 1000
