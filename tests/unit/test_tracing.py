"""Traces are sent where the settings say so, tell of no patient, and hold nobody up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid

import numpy as np
import pytest
from pydantic import ValidationError

from services.worker.batcher import Batcher
from services.worker.watchdog import Watchdog
from shared.errors import BadRequestError
from shared.jobs.claim import Claim
from shared.local.ports import free_ports
from shared.models.prediction import Prediction
from shared.settings import PROJECT_ROOT
from shared.telemetry.export import MOST_WAITING
from shared.telemetry.tracing import Kind, is_tracing, leaf, span, traceparent
from shared.telemetry_settings import TelemetrySettings
from tests.canaries import PATIENT_NAME
from tests.collector import collecting, tracing_to

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"
MOST_NANOSECONDS_OFF = 20_000


def test_nothing_is_traced_and_nothing_imported_unless_an_endpoint_is_set() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from shared.telemetry.tracing import configure_tracing, is_tracing, leaf, span, traceparent
from shared.telemetry_settings import TelemetrySettings
configure_tracing(TelemetrySettings(), service="tests")
with span("work") as working, leaf("database"):
    working.note(some=1)
    assert traceparent() is None
assert not is_tracing()
assert "shared.telemetry.export" not in sys.modules
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_span_costs_next_to_nothing_while_nothing_is_traced() -> None:
    assert not is_tracing()
    count, begun = 10_000, time.thread_time_ns()
    for _ in range(count):
        with span("work") as working:
            working.note(some=1)
    assert (time.thread_time_ns() - begun) / count < MOST_NANOSECONDS_OFF


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://c", "http://u:p@c", "http://c/v1"])
def test_an_endpoint_is_a_host_that_is_asked_by_http(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        TelemetrySettings(otlp_endpoint=endpoint)


def test_spans_arrive_as_they_were_nested() -> None:
    with collecting() as collector, tracing_to(collector.url):
        with span("outer", kind=Kind.SERVER) as outer, leaf("database"):
            outer.note(http__route="/v1/jobs", absent=None)
            with span("inner"):
                pass
        with leaf("alone"):
            pass
        before = traceparent()
    assert before is None, "no span was open"
    outer, inner, database = map(collector.one, ("outer", "inner", "database"))
    assert outer.parent == ""
    assert inner.parent == database.parent == outer.id
    assert {outer.trace_id, inner.trace_id, database.trace_id} == {outer.trace_id}
    assert outer.attributes == {"http.route": "/v1/jobs"}
    assert collector.named("alone") == [], "what is asked within no trace is not traced"


def test_work_elsewhere_is_of_the_trace_that_it_is_told() -> None:
    with collecting() as collector, tracing_to(collector.url):
        with span("request", parent=SAMPLED):
            passed_on = traceparent()
        with span("job", parent=passed_on):
            pass
        with span("of a stranger", parent="00-no-trace-at-all"):
            pass
    request, job, stranger = map(collector.one, ("request", "job", "of a stranger"))
    assert (request.trace_id, request.parent) == (TRACE, "b7ad6b7169203331")
    assert (job.trace_id, job.parent) == (TRACE, request.id)
    assert stranger.trace_id != TRACE


@pytest.mark.parametrize("error", [ValueError(PATIENT_NAME), BadRequestError(PATIENT_NAME)])
def test_of_an_error_its_kind_is_told_and_never_its_text(error: Exception) -> None:
    with (
        collecting() as collector,
        tracing_to(collector.url),
        pytest.raises(type(error)),
        span("outer"),
        leaf("database"),
    ):
        raise error
    kind = getattr(error, "code", "ValueError")
    for name in ("outer", "database"):
        failed = collector.one(name)
        assert (failed.failed, failed.attributes) == (True, {"error.type": kind})
    assert not any(PATIENT_NAME.encode() in body for body in collector.bodies)


def test_no_trace_is_kept_at_a_ratio_of_0_but_the_one_that_its_client_keeps() -> None:
    with collecting() as collector, tracing_to(collector.url, ratio=0):
        for parent in (None, UNSAMPLED, SAMPLED):
            with span("request", parent=parent):
                pass
    assert [each.trace_id for each in collector.named("request")] == [TRACE]


def test_a_collector_that_is_away_holds_nobody_up_and_what_is_lost_is_counted(caplog) -> None:
    made = MOST_WAITING + 1500
    (port,) = free_ports(1)
    with tracing_to(f"http://127.0.0.1:{port}") as exporting:
        begun = time.thread_time()
        for _ in range(made):
            with span("work"):
                pass
        assert time.thread_time() - begun < made * 0.002
    assert exporting.tally.dropped == made
    told = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert told == ["the collector of traces is away"], "once, and not for each group"


def test_a_batch_is_linked_to_all_whose_images_it_has() -> None:
    free = threading.Event()

    class Slow:
        def predict(self, images: np.ndarray, *_: object) -> Prediction:
            assert free.wait(60)
            rows = np.zeros((len(images), 4))
            return Prediction(rows.astype(np.float32), rows)

    batcher = Batcher(Watchdog(limit_seconds=60, on_overdue=lambda _: None), batch_size=8)
    predictor, images = Slow(), np.zeros((1, 2, 2, 3), np.uint8)
    with collecting() as collector, tracing_to(collector.url):
        futures = []
        for name in ("first", "second", "third"):
            with span(name):
                claim = Claim(uuid.uuid4(), "w", 1, False, "m", 1, ())
                futures.append(batcher.submit(claim, predictor, images))
        free.set()
        for future in futures:
            future.result(60)
    batcher.close()
    first, second, third = map(collector.one, ("first", "second", "third"))
    batches = collector.named("batch")
    assert {link for batch in batches for link in batch.links} == {first.id, second.id, third.id}
    assert all(batch.parent == batch.links[0] for batch in batches)
    assert sum(int(batch.attributes["hemotriage.batch.jobs"]) for batch in batches) == 3
