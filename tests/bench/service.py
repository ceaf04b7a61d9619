"""The whole service over HTTP, against the bare model, or around the stub engine."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil
from sqlalchemy import func, select

from shared.db.models import AuditRow, JobRow
from shared.db.roles.table import Role
from shared.db.session import create_database, create_sessions
from shared.local.service import APPLICATIONS, Application, LocalService
from shared.local.synthetic import draw_smear
from tests.bench.bare import best_bare_rate
from tests.bench.load import Loop, closed_loop, triage
from tests.bench.report import Report
from tests.bench.stub_worker import STUB_RATE, STUB_RATE_VARIABLE
from tests.conftest import settings_of
from tests.factories import small_champion

CLIENTS = (1, 8, 32)
_PICTURES = 16
_WARM_UP = 64
_MOST_FIELDS = 64
_SLOW_STUB_RATE = 20.0
_FLEET_JOBS = 300
_STUB = {"worker": Application(("tests.bench.stub_worker",), Role.WORKER)}


def encoded_fields() -> list[bytes]:
    """Drawn fields as JPEG files of 224x224."""
    files = []
    for seed in range(_PICTURES):
        buffer = io.BytesIO()
        draw_smear(seed).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


@contextmanager
def running(folder: Path, *, stub: bool = False, **settings: str) -> Iterator[LocalService]:
    """A service; its worker may run the stub engine."""
    with (
        patch.dict(APPLICATIONS, _STUB if stub else {}),
        LocalService(folder, settings=settings) as service,
    ):
        yield service


def throughput(report: Report, folder: Path, models: Sequence[str], *, jobs: int) -> None:
    """Jobs a second and waits, for each model and number of clients."""
    images = encoded_fields()
    with running(folder / "service") as service:
        for model in models:
            bound = best_bare_rate(model, rounds=3)
            ask = triage(service.api_key, model=model)
            closed_loop(service.url, ask, images, clients=8, count=_WARM_UP)
            count = max(_WARM_UP, min(jobs, round(20 * bound[0])))
            for clients in CLIENTS:
                run = closed_loop(service.url, ask, images, clients=clients, count=count)
                _tell(report, f"service, {model}", f"{clients} clients", run, bound)
            many = triage(service.api_key, model=model, fields=_MOST_FIELDS)
            jobs_of_many = max(2, count // _MOST_FIELDS)
            run = closed_loop(service.url, many, images, clients=2, count=jobs_of_many)
            what = f"jobs of {_MOST_FIELDS} images, 2 clients"
            report.add(f"service, {model}", what, run.rate * _MOST_FIELDS, "images/s", of=bound)
        for name in ("api", "worker"):
            what = f"{name}, all of {', '.join(models)} loaded"
            report.add("memory", what, resident_mebibytes(service, name), "MiB resident")


def pipeline(report: Report, folder: Path, *, jobs: int) -> None:
    """What the service carries around an engine that costs nothing, and who spends the time."""
    models = small_champion(folder / "models")
    bound = (STUB_RATE, "the stub engine")
    with running(folder / "stub", stub=True, HEMOTRIAGE_MODELS_DIR=str(models)) as service:
        ask = triage(service.api_key)
        images = encoded_fields()
        closed_loop(service.url, ask, images, clients=8, count=_WARM_UP)
        for clients in CLIENTS:
            before = processor_seconds(service)
            run = closed_loop(service.url, ask, images, clients=clients, count=jobs)
            _tell(report, "pipeline, stub engine", f"{clients} clients", run, bound)
        after = processor_seconds(service)
        for name, seconds in after.items():
            spent = (seconds - before[name]) / jobs * 1000
            report.add("where the time goes", f"{name}, 32 clients", spent, "ms of processor a job")
        _stages(report, service)


def scale_out(report: Report, folder: Path) -> None:
    """One and two workers on one broker, each with an engine of a machine of its own."""
    models = small_champion(folder / "models-of-fleet")
    images = encoded_fields()
    for workers in (1, 2):
        second = {"worker-2": _STUB["worker"]} if workers == 2 else {}
        settings = {
            "HEMOTRIAGE_MODELS_DIR": str(models),
            STUB_RATE_VARIABLE: str(_SLOW_STUB_RATE),
        }
        with (
            patch.dict(APPLICATIONS, second),
            running(folder / f"fleet-{workers}", stub=True, **settings) as service,
        ):
            ask = triage(service.api_key)
            run = closed_loop(service.url, ask, images, clients=32, count=_FLEET_JOBS)
            bound = (workers * _SLOW_STUB_RATE, f"{workers} x {_SLOW_STUB_RATE:.0f} images/s")
            report.add("scale-out", f"{workers} workers, jobs", run.rate, "jobs/s", of=bound)
            for number, share in enumerate(_shares(service), 1):
                report.add("scale-out", f"{workers} workers, share of no. {number}", share, "%")


def _shares(service: LocalService) -> list[float]:
    """What part of the results each worker wrote, in per cent, largest first."""
    sessions = create_sessions(create_database(settings_of(service.environment()), pool_size=1))
    wrote = (
        select(func.count())
        .where(AuditRow.action == "job.succeeded")
        .group_by(AuditRow.actor)
        .order_by(func.count().desc())
    )
    with sessions() as session:
        counts = session.scalars(wrote).all()
    return [100 * count / sum(counts) for count in counts]


def _tell(report: Report, part: str, what: str, run: Loop, bound: tuple[float, str]) -> None:
    report.add(part, f"{what}, jobs", run.rate, "jobs/s", of=bound)
    for share in (50, 95, 99):
        report.add(part, f"{what}, p{share}", run.percentile(share), "ms")


def _stages(report: Report, service: LocalService) -> None:
    """Means over the jobs of the run, from the database's clock and the results' own timings."""
    sessions = create_sessions(create_database(settings_of(service.environment()), pool_size=1))
    with sessions() as session:
        waited, worked = session.execute(
            select(
                func.avg(func.extract("epoch", JobRow.started_at - JobRow.submitted_at)),
                func.avg(func.extract("epoch", JobRow.finished_at - JobRow.started_at)),
            )
        ).one()
    report.add("stages", "from accepted to claimed", float(waited) * 1000, "ms")
    report.add("stages", "from claimed to result", float(worked) * 1000, "ms")


def processor_seconds(service: LocalService) -> dict[str, float]:
    """Processor time so far of each process with its children."""
    spent = {}
    for name, process in {**service.servers.processes, **service.applications}.items():
        everyone = [psutil.Process(process.pid)]
        everyone += everyone[0].children(recursive=True)
        times = [one.cpu_times() for one in everyone]
        spent[name] = sum(t.user + t.system + t.children_user + t.children_system for t in times)
    return spent


def resident_mebibytes(service: LocalService, name: str) -> float:
    """Resident memory of a process and its children."""
    process = psutil.Process(service.applications[name].pid)
    everyone = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in everyone) / 2**20
