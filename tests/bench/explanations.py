"""What an explanation costs: beside plain inference, and as an answer of the service."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from shared.explanations.explain import explain
from shared.explanations.method import Method
from shared.imaging.decode import to_model_input
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from tests.bench.report import Report
from tests.bench.service import encoded_fields, running

_PATIENCE_SECONDS = 60.0


def explanations(report: Report, folder: Path, models: Sequence[str], *, rounds: int) -> None:
    """The cost of each step on one field, then of the same over HTTP."""
    files = encoded_fields()
    for name in models:
        _in_process(report, name, files[0], rounds)
    with running(folder / "explained") as service:
        headers = {"Authorization": f"Bearer {service.api_key}"}
        with httpx.Client(
            base_url=service.url, headers=headers, timeout=_PATIENCE_SECONDS, trust_env=False
        ) as client:
            for name in models:
                _over_http(report, client, name, files)


def _in_process(report: Report, name: str, file: bytes, rounds: int) -> None:
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(name)
    image = Image.open(io.BytesIO(file)).convert("RGB")
    field = to_model_input(image)[np.newaxis]
    plain = Predictor.load_in(FULL, version, settings)
    mapped = Predictor.load_in(FULL, version, settings, maps=True)
    label = np.array([0])
    steps: dict[str, Callable[[], object]] = {
        "Grad-CAM": lambda: mapped.grad_cam(field, label),
        "Grad-CAM with prediction and picture": lambda: explain(mapped, image, Method.GRADCAM),
    }
    alone = _median_ms(lambda: plain.predict(field), rounds)
    part = f"explaining a field, {version}, float32"
    report.add(part, "plain inference", alone, "ms")
    for what, step in steps.items():
        report.add(part, what, _median_ms(step, rounds), "ms", of=(alone, "plain inference"))
    lime = _median_ms(lambda: explain(mapped, image, Method.LIME), 1)
    report.add(part, "LIME with picture", lime, "ms", of=(alone, "plain inference"))


def _over_http(report: Report, client: httpx.Client, name: str, files: Sequence[bytes]) -> None:
    addresses = [_triaged(client, name, file) for file in files]
    part = f"explanation by Grad-CAM over HTTP, {name}"
    report.add(part, "the first, for which the model is loaded", _ask(client, addresses[0]), "ms")
    for what in ("asked for the first time", "asked again"):
        waits = [_ask(client, address) for address in addresses[1:]]
        report.add(part, f"{what}, median", statistics.median(waits), "ms")
        report.add(part, f"{what}, longest", max(waits), "ms")


def _triaged(client: httpx.Client, model: str, file: bytes) -> str:
    """Have a field triaged; returns where its explanation is."""
    posted = client.post("/v1/jobs", files={"image": file}, data={"model": model})
    job = posted.raise_for_status().json()["links"]["self"]
    ended = client.get(job, params={"wait": 30}).raise_for_status().json()
    if ended["status"] != "succeeded":
        raise RuntimeError(f"the job is {ended['status']}")
    return f"{job}/images/0/explanation"


def _ask(client: httpx.Client, address: str) -> float:
    """Milliseconds until the picture is there."""
    began = time.perf_counter()
    answer = client.get(address, params={"method": "gradcam", "wait": 30}).raise_for_status()
    if answer.headers["Content-Type"] != "image/png":
        raise RuntimeError("expected a picture")
    return 1000 * (time.perf_counter() - began)


def _median_ms(work: Callable[[], object], rounds: int) -> float:
    work()
    waits = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        waits.append(1000 * (time.perf_counter() - began))
    return statistics.median(waits)
