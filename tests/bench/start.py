"""From a start to a result: the whole service, and a worker alone; and what a worker then holds."""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from shared.local.service import LocalService
from shared.settings import PROJECT_ROOT
from tests.bench.load import closed_loop, triage
from tests.bench.report import Report
from tests.bench.service import encoded_fields, resident_mebibytes, running
from tests.factories import small_champion

_STARTS = 3
_JOBS = 64
_SETTLING_SECONDS = 6  # what no answer waits for is started last


def start_up(report: Report, folder: Path) -> None:
    """From nothing to the first result, and one stat job at a time on an idle service."""
    models = small_champion(folder / "models-of-one")
    images = encoded_fields()
    began = time.perf_counter()
    with running(folder / "started", HEMOTRIAGE_MODELS_DIR=str(models)) as service:
        ready = time.perf_counter() - began
        ask = triage(service.api_key, priority="stat")
        closed_loop(service.url, ask, images, clients=1, count=1)
        first = time.perf_counter() - began
        report.add("start-up", "service ready", ready, "s")
        report.add("start-up", "first result", first, "s")
        time.sleep(_SETTLING_SECONDS)
        run = closed_loop(service.url, ask, images, clients=1, count=300)
        for share in (50, 95, 99):
            report.add("one stat job, idle", f"p{share}", run.percentile(share), "ms")


def workers(report: Report, folder: Path, models: Sequence[str]) -> None:
    """A worker with one model: from its start to its first result, and its memory under load."""
    for name in models:
        versions = folder / f"models-with-{name}"
        shutil.copytree(PROJECT_ROOT / "models", versions)
        aliases = versions / "aliases.json"
        champion = json.loads(aliases.read_text())["champion"]
        aliases.write_text(json.dumps({"champion": champion if name == "champion" else name}))
        with running(folder / f"with-{name}", HEMOTRIAGE_MODELS_DIR=str(versions)) as service:
            images = encoded_fields()
            ask = triage(service.api_key)
            closed_loop(service.url, ask, images, clients=32, count=_JOBS)
            held = resident_mebibytes(service, "worker")
            report.add("a worker", f"{name}, after {_JOBS} jobs", held, "MiB resident")
            seconds = statistics.median(_start(service, images) for _ in range(_STARTS))
            report.add("a worker", f"{name}, from its start to a result", seconds, "s")


def _start(service: LocalService, images: Sequence[bytes]) -> float:
    """Seconds from a worker's start to the end of a job that waits for it."""
    worker = service.applications["worker"]
    worker.stop()
    client = threading.Thread(
        target=closed_loop,
        args=(service.url, triage(service.api_key), images),
        kwargs={"clients": 1, "count": 1},
    )
    client.start()
    time.sleep(0.5)  # the job is posted, and waits
    began = time.perf_counter()
    worker.start()
    client.join()
    return time.perf_counter() - began
