"""How long a stat job waits behind a backlog of routine jobs.

The bound is a batch's time: what a routine job of the same backlog takes from its claim to its
result, in the company of the others of its batch.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from shared.client import Client
from shared.db.models import JobRow
from shared.db.session import Sessions, create_database, create_sessions
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from tests.bench.report import Report
from tests.conftest import settings_of

BACKLOG = 2000
CLIENTS = 8
PAUSE_SECONDS = 0.1


def post_backlog(service: LocalService, image: Path) -> None:
    """Post routine jobs while no worker runs."""
    workers = [one for name, one in service.applications.items() if name.startswith("worker")]
    for worker in workers:
        worker.pause()

    def one_client(_: int) -> None:
        client = Client(service.url, service.api_key)
        for _ in range(BACKLOG // CLIENTS):
            client.submit([image])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one_client, range(CLIENTS)))
    for worker in workers:
        worker.resume()


def post_stat_jobs(service: LocalService, sessions: Sessions, image: Path) -> None:
    """Post a stat job ten times a second until the backlog is nearly gone."""
    client = Client(service.url, service.api_key)
    last = ""
    while waiting(sessions) > CLIENTS:
        last = client.submit([image], fields={"priority": "stat"}).id
        time.sleep(PAUSE_SECONDS)
    client.wait(last)


def waiting(sessions: Sessions) -> int:
    """How many jobs wait."""
    with sessions() as session:
        statement = select(func.count()).where(JobRow.status == "queued")
        return session.scalar(statement.select_from(JobRow)) or 0


def spans(sessions: Sessions, priority: str, begin: str, end: str) -> np.ndarray:
    """Milliseconds between two moments of the jobs of one priority."""
    span = func.extract("epoch", getattr(JobRow, end) - getattr(JobRow, begin))
    with sessions() as session:
        rows = session.scalars(
            select(span).where(JobRow.priority == priority, JobRow.status == "succeeded")
        )
        return np.array([float(seconds) * 1000 for seconds in rows])


def one_round(folder: Path, image: Path) -> tuple[float, float, float, int]:
    """A batch's time, the 99th percentile of the stat jobs' wait and of their time to a result."""
    with LocalService(folder) as service:
        settings = settings_of(service.environment())
        sessions = create_sessions(create_database(settings, pool_size=1))
        post_backlog(service, image)
        post_stat_jobs(service, sessions, image)
        batch = float(np.median(spans(sessions, "routine", "started_at", "finished_at")))
        waits = spans(sessions, "stat", "submitted_at", "started_at")
        whole = spans(sessions, "stat", "submitted_at", "finished_at")
    return batch, float(np.percentile(waits, 99)), float(np.percentile(whole, 99)), len(waits)


def priorities(report: Report, folder: Path, *, rounds: int) -> None:
    """Measure some rounds; each stands in the report."""
    image = folder / "smear.jpg"
    draw_smear(1).save(image, quality=90)
    part = f"stat jobs behind {BACKLOG} routine jobs"
    for number in range(1, rounds + 1):
        batch, wait, whole, count = one_round(folder / f"backlog-{number}", image)
        report.add(part, f"round {number}: a batch", batch, "ms")
        of_batch = (batch, "a batch")
        report.add(part, f"round {number}: p99 wait of {count}", wait, "ms", of=of_batch)
        report.add(part, f"round {number}: p99 to the result", whole, "ms", of=of_batch)
