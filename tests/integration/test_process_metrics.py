"""What workers and relays count is what they did, and the page of metrics has all that is shown."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY, generate_latest
from sqlalchemy import text

import services.gateway.tls  # noqa: F401 - what it shows is documented too
from services.worker.batcher import NotNowError
from services.worker.hands import Hands
from services.worker.inference import JobRunner
from services.worker.metrics import count_batch, show_hands
from services.worker.patience import Patience
from shared.auth.keys import Scope, create_key
from shared.backup.manifest import LostObject, Manifest, ObjectList
from shared.backup.textfile import write_textfile
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.errors import ImageTooSmallError
from shared.jobs.claim import Claim
from shared.jobs.relay import run_relay
from shared.queue.send import BrokerUnavailableError
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.triage.result import TriageResult
from shared.webhooks.call import CallFailedError
from shared.webhooks.deliver import MAX_ATTEMPTS, deliver, take_due
from shared.webhooks.hosts import AllowedHosts
from tests.integration.jobs import Broker, a_result, make_due, post, take
from tests.unit.deploy.support import (
    alerts,
    dashboard_expressions,
    documented,
    metrics_in,
    needs_promtool,
    promtool,
)

WORTH_ONE_SECOND = 100_000  # observations, at 10 microseconds each


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Since:
    """How much has been counted since it was made."""

    def __init__(self, name: str, **labels: str) -> None:
        self._read = lambda: counted(name, **labels)
        self._began = self._read()

    def __call__(self) -> float:
        return self._read() - self._began


@pytest.fixture
def run(
    settings: Settings, sessions: Sessions, storage: S3Store, key_id: str
) -> Callable[[Callable[[Claim], TriageResult]], uuid.UUID]:
    """Runs a new job to whatever end what makes its result brings about."""

    def of(make: Callable[[Claim], TriageResult]) -> uuid.UUID:
        patience = Patience(seconds=0, stopping=threading.Event())
        runner = JobRunner(settings, sessions, Hands(), patience, together=make, alone=make)
        job_id = post(sessions, storage, key_id).job.id
        runner.run(job_id, worker="w1")
        return job_id

    return of


def a_timed_result(held: Claim) -> TriageResult:
    return a_result(held.job_id).model_copy(update={"timings_ms": {"decode": 30.0}})


def test_a_result_is_counted_by_model_class_and_urgency_with_its_stages(run) -> None:
    result = a_result(uuid.UUID(int=1))
    labels = {
        "model": "cnn_custom@1",
        "prediction": result.prediction,
        "urgency": result.urgency,
        "requires_review": str(result.requires_review).lower(),
    }
    results = Since("hemotriage_results_total", **labels)
    stages = {
        stage: Since("hemotriage_job_stage_seconds_count", stage=stage)
        for stage in ("claim", "decode", "write")
    }
    decoding = Since("hemotriage_job_stage_seconds_sum", stage="decode")
    run(a_timed_result)
    assert results() == 1
    assert {stage: since() for stage, since in stages.items()} == dict.fromkeys(stages, 1)
    assert decoding() == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (NotNowError("it stops"), "handed_back"),
        (ImageTooSmallError(""), "too_few_pixels"),
        (ValueError("of a library"), "internal_error"),
    ],
    ids=["handed back", "failed", "raised"],
)
def test_an_attempt_without_a_result_is_counted_by_its_reason(
    run, error: Exception, ending: str
) -> None:
    attempts = Since("hemotriage_attempts_total", ending=ending)

    def raises(_: Claim) -> TriageResult:
        raise error

    run(raises)
    assert attempts() == 1


def test_a_result_that_comes_too_late_is_lost_and_no_result(run, sessions: Sessions) -> None:
    lost = Since("hemotriage_attempts_total", ending="lost")
    written = Since("hemotriage_attempts_total", ending="result")

    def too_late(held: Claim) -> TriageResult:
        with sessions.begin() as session:
            session.execute(text("UPDATE jobs SET worker = 'another'"))
        return a_timed_result(held)

    run(too_late)
    assert (lost(), written()) == (1, 0)


def test_jobs_in_hand_are_counted_when_somebody_looks(
    sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    hands = Hands()
    show_hands(hands)
    held = take(sessions, post(sessions, storage, key_id).job)
    assert held is not None
    with hands.holding(held):
        assert counted("hemotriage_jobs_in_hand") == 1
    assert counted("hemotriage_jobs_in_hand") == 0


class Passing(Broker):
    """A broker that ends the relay at its second pass."""

    def __init__(self, stop: threading.Event, *, down: bool = False) -> None:
        super().__init__(down=down)
        self._stop = stop
        self._looks = 0

    def oldest(self, queue: str):
        self._looks += 1
        if self._looks == (2 if self.down else 6):
            self._stop.set()
        if self.down:
            raise BrokerUnavailableError
        return super().oldest(queue)


def passes(settings: Settings, sessions: Sessions, *, down: bool = False) -> None:
    # Leases are trusted after half of their time, so at the second pass.
    update = {"lease_seconds": 0.02, "relay_interval_seconds": 0.05, "requeue_after_seconds": 0.01}
    stop = threading.Event()
    run_relay(settings.model_copy(update=update), sessions, Passing(stop, down=down), stop)


def test_a_relay_counts_what_it_puts_right(
    settings: Settings, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    silent = post(sessions, storage, key_id).job
    assert take(sessions, silent) is not None
    expired = post(sessions, storage, key_id).job
    post(sessions, storage, key_id)  # its message was sent, and the broker has lost it
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET queued_at = queued_at - interval '60 s'"))
        session.execute(
            text("UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": silent.id},
        )
        session.execute(
            text("UPDATE jobs SET expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": expired.id},
        )
    make_due(sessions)
    since = {
        "leases": Since("hemotriage_leases_ran_out_total", ending="requeued"),
        "expired": Since("hemotriage_jobs_expired_total"),
        "announced": Since("hemotriage_messages_announced_again_total"),
        "sweeps": Since("hemotriage_relay_parts_total", part="sweep", outcome="done"),
        "passes": Since("hemotriage_relay_pass_seconds_count"),
    }
    sent = Since("hemotriage_relay_messages_sent_total")
    passes(settings, sessions)
    found = {name: value() for name, value in since.items()}
    assert found == {"leases": 1, "expired": 1, "announced": 1, "sweeps": 2, "passes": 2}
    assert sent() >= 1


def test_a_relay_without_a_broker_counts_what_it_cannot_send(
    settings: Settings, sessions: Sessions
) -> None:
    failed = Since("hemotriage_relay_parts_total", part="send", outcome="failed")
    swept = Since("hemotriage_relay_parts_total", part="sweep", outcome="done")
    passes(settings, sessions, down=True)
    assert (failed(), swept()) == (2, 2)


@pytest.fixture
def push_due(sessions: Sessions, storage: S3Store, key_id: str) -> Callable[[int], None]:
    """Makes a push due that had so many attempts."""

    def make(attempts: int) -> None:
        job = post(sessions, storage, key_id).job
        with sessions.begin() as session:
            session.execute(text("UPDATE jobs SET status = 'cancelled', finished_at = now()"))
            session.execute(
                text(
                    "INSERT INTO webhooks (id, job_id, event, url, attempts) "
                    "VALUES (:id, :id, 'job.cancelled', 'mllp://lis.example.org:2575', :attempts)"
                ),
                {"id": job.id, "attempts": attempts},
            )

    return make


@pytest.mark.parametrize(
    ("error", "attempts", "outcome"),
    [
        (None, 0, "delivered"),
        (CallFailedError("connect_timeout"), 0, "failed"),
        (CallFailedError("ack_ar", is_final=True), 0, "given_up"),
        (CallFailedError("connect_timeout"), MAX_ATTEMPTS - 1, "given_up"),
    ],
    ids=["delivered", "failed", "refused", "tried for the last time"],
)
def test_a_delivery_is_counted_by_its_outcome(
    settings: Settings, sessions: Sessions, push_due, error, *, attempts: int, outcome: str
) -> None:
    push_due(attempts)

    def push(_: object) -> None:
        if error is not None:
            raise error

    since = Since("hemotriage_delivery_attempts_total", kind="push", outcome=outcome)
    measured = Since("hemotriage_delivery_seconds_count", kind="push")
    delivery = take_due(sessions, settings)
    assert delivery is not None
    deliver(sessions, settings, AllowedHosts.parse(""), delivery, push)
    assert (since(), measured()) == (1, 1)


def names(exposition: str) -> set[str]:
    found = set(re.findall(r"^# TYPE (hemotriage_\w+) ", exposition, re.MULTILINE))
    return {name for name in found if not name.endswith("_created")}


@pytest.fixture
def of_backup(tmp_path: Path) -> str:
    """What is told of a backup that was found whole."""
    manifest = Manifest(
        software="1",
        revision="0001",
        taken_at=utc_now(),
        tables={},
        sequences={},
        objects=ObjectList(count=7, bytes=70, sha256=""),
        lost=(LostObject(key="images/one", reason="missing"),),
    )
    file = tmp_path / "hemotriage.prom"
    write_textfile(file, manifest)
    return file.read_text()


@pytest.fixture
def shown(client: FlaskClient, sessions: Sessions, of_backup: str) -> set[str]:
    """The names of all metrics, of the API, of the other processes, and of backups."""
    create_key(sessions, "ends", [Scope.READ], expires_at=utc_now().replace(year=2999))
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO drift_windows (window_from, window_to, results) "
                "VALUES (now(), now(), '[]')"
            )
        )
    of_processes = client.get("/metrics").text, generate_latest(REGISTRY).decode()
    return set().union(*(names(exposition) for exposition in (*of_processes, of_backup)))


def test_a_backup_is_told_with_its_age(of_backup: str) -> None:
    told = dict(line.split() for line in of_backup.splitlines() if not line.startswith("#"))
    taken = float(told.pop("hemotriage_backup_taken_timestamp_seconds"))
    assert 0 <= utc_now().timestamp() - taken < 60
    assert told == {
        "hemotriage_backup_objects": "7.0",
        "hemotriage_backup_objects_bytes": "70.0",
        "hemotriage_backup_lost_objects": "1.0",
    }


def test_the_page_has_each_metric_that_is_shown_and_no_other(shown: set[str]) -> None:
    assert documented() == shown


def test_rules_and_dashboard_name_metrics_that_are_shown(shown: set[str]) -> None:
    parts = {f"{name}{part}" for name in shown for part in ("", "_bucket", "_sum", "_count")}
    used = metrics_in([rule["expr"] for rule in alerts()] + dashboard_expressions())
    assert len(used) > 40
    assert used <= parts


@needs_promtool
def test_promtool_finds_no_fault_with_what_processes_show(of_backup: str) -> None:
    promtool("check", "metrics", given=of_backup)
    lines = generate_latest(REGISTRY).decode().splitlines()
    ours = [line for line in lines if "hemotriage_" in line and "_created" not in line]
    promtool("check", "metrics", given="\n".join(ours) + "\n")


def test_counting_costs_a_job_next_to_nothing() -> None:
    start = time.process_time()
    for _ in range(WORTH_ONE_SECOND // 10):
        count_batch(8, seconds=0.01)
    assert time.process_time() - start < 1, "two observations in less than 100 microseconds"
