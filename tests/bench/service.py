"""Measures the service against the bare model, in the same run: `make bench`.

Machines are noisy, so every figure is the median of several rounds, and what is reported is the
ratio to the bound that was measured right beside it. Nothing here passes or fails.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from shared.client import Client
from shared.imaging.decode import to_model_input
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings

ROUNDS = 3
JOBS = 200
CLIENTS = 8
PICTURES = 16


def median_rate(work: Callable[[], int]) -> float:
    """Median over the rounds of what is done in a second."""
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def bare_model(pixels: np.ndarray) -> float:
    """Images a second of the champion alone, in batches of the worker's size."""
    settings = InferenceSettings()
    predictor = Predictor.load(ModelRegistry(settings.models_dir).resolve("champion"), settings)

    def work() -> int:
        predictor.predict(pixels)
        return len(pixels)

    work()
    return median_rate(work)


def closed_loop(service: LocalService, files: list[Path], waits: list[float]) -> float:
    """Jobs a second of clients that each post an image and wait for its result."""

    def one_client(number: int) -> int:
        client = Client(service.url, service.api_key)
        for index in range(JOBS // CLIENTS):
            began = time.perf_counter()
            client.wait(client.submit([files[(number + index) % len(files)]])["id"])
            waits.append(time.perf_counter() - began)
        return JOBS // CLIENTS

    def work() -> int:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return sum(pool.map(one_client, range(CLIENTS)))

    work()
    waits.clear()
    return median_rate(work)


def resident_mebibytes(service: LocalService, name: str) -> float:
    """Resident memory of a process and its children."""
    process = psutil.Process(service.applications[name].pid)
    everyone = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in everyone) / 2**20


def timed_start(folder: Path) -> tuple[LocalService, float]:
    """A started service, and the seconds until it was ready."""
    began = time.perf_counter()
    service = LocalService(folder)
    service.start()
    return service, time.perf_counter() - began


def main() -> None:
    """Run everything and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="hemotriage-bench-"))
    folder.chmod(0o755)
    fields = [draw_smear(seed) for seed in range(PICTURES)]
    files = [folder / f"{index}.jpg" for index in range(PICTURES)]
    for field, path in zip(fields, files, strict=True):
        field.save(path, quality=90)
    pixels = np.stack([to_model_input(field) for field in fields] * 10)
    table = Table("what", "figure", "against the bare model", title="Medians of three rounds")
    bound = bare_model(pixels)
    table.add_row("bare model, images/s", f"{bound:.0f}", "1.00")
    service, first = timed_start(folder / "service")
    service.stop()
    service, second = timed_start(folder / "service")
    try:
        waits: list[float] = []
        rate = closed_loop(service, files, waits)
        table.add_row(f"service, {CLIENTS} clients, jobs/s", f"{rate:.0f}", f"{rate / bound:.2f}")
        for name, quantile in (("median", 50), ("99th percentile", 99)):
            wait = float(np.percentile(waits, quantile))
            table.add_row(f"{name} wait, ms", f"{wait * 1000:.0f}", f"{wait * bound:.1f} images")
        for name in ("api", "worker"):
            table.add_row(f"{name}, MiB resident", f"{resident_mebibytes(service, name):.0f}", "")
        table.add_row("first and second start, s", f"{first:.1f}, {second:.1f}", "")
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)
    Console().print(table)


if __name__ == "__main__":
    main()
