"""A running service traces a job through its processes, and stops in time without a collector."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.local.ports import free_ports
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from tests.canaries import ACCESSION
from tests.collector import Collector, collecting
from tests.receiver import SECRET, Receiver
from tests.waiting import eventually

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

TRACE = "0af7651916cd43dd8448eb211c80319c"
LONGEST_STOP_SECONDS = 15.0


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(service_folder: Path, collector: Collector) -> Iterator[LocalService]:
    settings = {
        "HEMOTRIAGE_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
        "HEMOTRIAGE_WEBHOOK_SECRET": SECRET,
        "HEMOTRIAGE_OTLP_ENDPOINT": collector.url,
        "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
    }
    with LocalService(service_folder / "traced", settings=settings) as running:
        yield running


def post(service: LocalService, **fields: str) -> str:
    headers = {
        "Authorization": f"Bearer {service.api_key}",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    }
    with SYNTHETIC_SMEAR.open("rb") as image:
        answer = httpx.post(
            f"{service.url}/v1/jobs",
            headers=headers,
            files={"image": ("a", image)},
            data=fields,
            trust_env=False,
        )
    assert answer.status_code == 202
    return str(answer.json()["id"])


OF_REQUEST = ("POST /v1/jobs", "enqueue", "webhook")
OF_JOB = ("load", "decode", "quality", "infer", "complete")


def test_one_trace_goes_through_api_queue_worker_and_relay(
    traced: LocalService, collector: Collector
) -> None:
    receiver = Receiver()
    try:
        post(traced, accession_number=ACCESSION, callback_url=receiver.url)
        eventually(lambda: receiver.calls, 60)
        # Each process sends its spans at moments of its own.
        eventually(lambda: all(map(collector.named, (*OF_REQUEST, *OF_JOB, "job", "batch"))), 20)
        request = collector.one("POST /v1/jobs")
        of_trace = [span for span in collector.spans if span.trace_id == TRACE]
        assert {span.service for span in of_trace} == {"api", "worker", "relay"}
        parents = {span.name: span.parent for span in of_trace}
        assert parents["POST /v1/jobs"] == "b7ad6b7169203331"
        for name in ("enqueue", "job", "webhook"):
            assert parents[name] == request.id, name
        job = collector.one("job")
        for name in OF_JOB:
            assert parents[name] == job.id, name
        assert parents["batch"] == collector.one("infer").id
        webhook = collector.one("webhook")
        assert receiver.calls[0].headers["traceparent"] == f"00-{TRACE}-{webhook.id}-01"
        for value in (ACCESSION, receiver.url, SECRET, traced.api_key):
            assert not any(value.encode() in body for body in collector.bodies)
    finally:
        receiver.close()


def test_a_collector_that_goes_away_changes_nothing(
    traced: LocalService, collector: Collector
) -> None:
    collector.close()
    post(traced)
    worker = traced.applications["worker"]
    eventually(lambda: "the collector of traces is away" in worker.spec.log.read_text(), 60)
    begun = time.monotonic()
    worker.stop()
    assert time.monotonic() - begun < LONGEST_STOP_SECONDS
    traced.ensure_alive()
