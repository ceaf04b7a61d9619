"""Drift of a model in use: looked for once however many look, told once, shown to Prometheus."""

from __future__ import annotations

import datetime as dt
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import func, select, text

from services.api.app import create_app
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, DriftWindowRow
from shared.db.session import Sessions
from shared.jobs.claim import claim
from shared.jobs.complete import complete
from shared.jobs.entities import Job, JobRequest
from shared.jobs.outbox import Outbox
from shared.jobs.submit import Upload, submit
from shared.models.registry import ModelRegistry
from shared.monitoring.drift import LEAST, Level
from shared.monitoring.measures import reference_of
from shared.monitoring.run import run_monitoring
from shared.monitoring.windows import Window, look, newest_window
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.triage.evidence import Evidence
from shared.triage.result import (
    FieldResult,
    ModelReference,
    TriageResult,
    field_result,
    triage_result,
)
from tests.factories import smear_bytes
from tests.integration.jobs import LEASE, Recorder, count
from tests.waiting import eventually

WATCHED, UNWATCHED = "watched", "unwatched"
JOBS = LEAST + 10


def fields(seed: int, number: int, *, shift: float = 0.0) -> list[FieldResult]:
    """Fields of one model; a shift makes it unsure and its images strange."""
    rng = np.random.default_rng(seed)
    drawn = []
    for index in range(number):
        row = rng.dirichlet([60, 1, 1, 1] if not shift else [4, 1, 1, 1])
        evidence = Evidence(row.astype(np.float32), row, unlikeness=rng.uniform(0, 1) + shift)
        drawn.append(field_result(index, evidence))
    return drawn


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """One version with a reference and one without."""
    for name, card in ((WATCHED, {"monitoring": reference_of(fields(0, 400))}), (UNWATCHED, {})):
        folder = tmp_path / name / "1"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps(card))
    return ModelRegistry(tmp_path)


@pytest.fixture
def often(settings: Settings) -> Settings:
    """Settings that let a look follow the one before at once."""
    return settings.model_copy(update={"monitoring_interval_seconds": 1e-6})


@pytest.fixture
def use(sessions: Sessions, storage: S3Store, key_id: str) -> Callable[..., list[Job]]:
    """Gives results to new jobs, of one field each, as a worker does."""

    data = smear_bytes()
    outbox = Outbox(sessions, Recorder())

    def run(results: list[FieldResult], model: str = WATCHED) -> list[Job]:
        request = JobRequest(
            api_key_id=key_id, model_name=model, model_version=1, tenant=DEFAULT_TENANT
        )
        jobs = [submit(sessions, storage, outbox, request, [upload_of(data)]).job for _ in results]
        claims = claim(sessions, [job.id for job in jobs], worker="w", lease_seconds=LEASE)
        ready = [
            (claims[job.id], a_result(job, field)) for job, field in zip(jobs, results, strict=True)
        ]
        assert len(complete(sessions, ready)) == len(results)
        return jobs

    return run


def upload_of(data: bytes) -> Upload:
    return Upload(io.BytesIO(data), "0" * 64, "image/png", len(data), 224, 224)


def a_result(job: Job, field: FieldResult) -> TriageResult:
    model = ModelReference(name="m", version=1, sha256="", engine="openvino", precision="f32")
    now = dt.datetime.now(dt.UTC)
    return triage_result(str(job.id), [field], [model], created_at=now, timings_ms={})


def age_results(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE results SET created_at = created_at - interval '2 days'"))


def told(sessions: Sessions) -> list[tuple[str, str]]:
    with sessions() as session:
        events = session.scalars(
            select(AuditRow).where(AuditRow.action.like("drift.%")).order_by(AuditRow.id)
        )
        return [(event.action, event.details["measure"]) for event in events]


def levels(window: Window | None, model: str = WATCHED) -> dict[str, Level]:
    assert window is not None
    of_model = [finding for finding in window.findings if finding.version.name == model]
    return {finding.drift.measure: finding.drift.level for finding in of_model}


def samples(client, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric at `/metrics`, by its labels' values in the order of their names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    if name not in families:
        return {}
    return {
        tuple(dict(sorted(one.labels.items())).values()): one.value
        for one in families[name].samples
    }


def test_an_alert_begins_and_ends_once(
    client, sessions: Sessions, often: Settings, registry: ModelRegistry, use
) -> None:
    use(fields(1, JOBS))
    assert set(levels(look(often, sessions, registry)).values()) == {Level.OK}
    assert told(sessions) == []
    assert set(samples(client, "hemotriage_drift_alert").values()) == {0}

    age_results(sessions)
    use(fields(2, JOBS, shift=3))
    for _ in range(3):
        drifted = levels(look(often, sessions, registry))
        assert drifted["unlikeness"] is drifted["confidence"] is Level.ALERT
    on = {measure for measure, level in drifted.items() if level is Level.ALERT}
    assert sorted(told(sessions)) == sorted(("drift.alert_began", measure) for measure in on)
    shown = samples(client, "hemotriage_drift_alert")
    assert {measure for (measure, _), value in shown.items() if value} == on
    assert samples(client, "hemotriage_drift_level")["unlikeness", "watched@1"] == 2
    assert samples(client, "hemotriage_drift_psi")["unlikeness", "watched@1"] > 1
    assert samples(client, "hemotriage_drift_ks")["unlikeness", "watched@1"] == 1
    assert samples(client, "hemotriage_drift_ks_p_value")["unlikeness", "watched@1"] < 1e-6
    assert samples(client, "hemotriage_drift_fields")["unlikeness", "watched@1"] == JOBS

    age_results(sessions)
    use(fields(3, JOBS))
    for _ in range(2):
        look(often, sessions, registry)
    events = told(sessions)
    assert sorted(events[len(on) :]) == sorted(("drift.alert_ended", measure) for measure in on)
    assert set(samples(client, "hemotriage_drift_alert").values()) == {0}


def test_too_few_fields_leave_an_alert_on_and_none_end_it(
    sessions: Sessions, often: Settings, registry: ModelRegistry, use
) -> None:
    use(fields(2, JOBS, shift=3))
    look(often, sessions, registry)
    began = told(sessions)
    assert ("drift.alert_began", "unlikeness") in began
    age_results(sessions)
    use(fields(3, 5))
    window = look(often, sessions, registry)
    assert set(levels(window).values()) == {Level.TOO_FEW}
    assert ("unlikeness", True) in {(one.drift.measure, one.alert) for one in window.findings}
    assert told(sessions) == began
    age_results(sessions)
    assert look(often, sessions, registry).findings == ()
    ended = told(sessions)[len(began) :]
    assert sorted(ended) == sorted(("drift.alert_ended", measure) for _, measure in began)
    look(often, sessions, registry)
    assert len(told(sessions)) == 2 * len(began)


def test_a_version_without_a_reference_says_so(
    client, sessions: Sessions, often: Settings, registry: ModelRegistry, use
) -> None:
    use(fields(1, 3), UNWATCHED)
    use(fields(1, 2), "removed")
    window = look(often, sessions, registry)
    for model in (UNWATCHED, "removed"):
        assert set(levels(window, model).values()) == {Level.NO_REFERENCE}
    shown = samples(client, "hemotriage_drift_without_verdict")
    assert shown["confidence", "unwatched@1", "no_reference"] == 1
    assert samples(client, "hemotriage_drift_level") == {}


def test_results_are_counted_and_the_look_takes_the_newest_fields(
    client, sessions: Sessions, often: Settings, registry: ModelRegistry, use
) -> None:
    use(fields(1, 8))
    bounded = often.model_copy(update={"monitoring_max_fields": 5})
    window = look(bounded, sessions, registry)
    assert {finding.drift.fields for finding in window.findings} == {5}
    shown = samples(client, "hemotriage_drift_window_results")
    assert sum(shown.values()) == 8
    assert {labels[:2] for labels in shown} == {("watched@1", "Benign")}
    assert {labels[2] for labels in shown} <= {"true", "false"}
    assert newest_window(sessions) == window


def test_more_results_than_a_page_holds_are_all_looked_at(
    sessions: Sessions, often: Settings, registry: ModelRegistry, use
) -> None:
    jobs = use(fields(1, 30))
    with sessions.begin() as session:
        session.execute(
            text(
                """
                WITH copies AS (
                    INSERT INTO jobs (id, api_key_id, request_sha256, status, priority, model_name,
                        model_version, finished_at)
                    SELECT gen_random_uuid(), api_key_id, '', 'succeeded', priority, model_name,
                        model_version, now() FROM jobs, generate_series(1, 9) RETURNING id
                )
                INSERT INTO results SELECT copies.id, prediction, confidence, urgency,
                    requires_review, policy_version, document, now() FROM copies, results
                    WHERE results.job_id = :job_id
                """
            ),
            {"job_id": jobs[0].id},
        )
    window = look(often, sessions, registry)
    assert max(finding.drift.fields for finding in window.findings) == 300


def test_of_many_relays_one_looks(
    settings: Settings, sessions: Sessions, registry: ModelRegistry, use
) -> None:
    use(fields(2, JOBS, shift=3))
    together = threading.Barrier(6)

    def at_once(_: int) -> Window | None:
        together.wait()
        return look(settings, sessions, registry)

    with ThreadPoolExecutor(6) as pool:
        windows = list(pool.map(at_once, range(6)))
    assert sum(window is not None for window in windows) == 1
    assert look(settings, sessions, registry) is None, "the interval is not over"
    assert count(sessions, DriftWindowRow) == 1
    assert len(told(sessions)) == len(set(told(sessions))) > 0


def test_a_look_before_the_clock_was_set_back_does_not_hold_up_the_next(
    settings: Settings, sessions: Sessions, registry: ModelRegistry
) -> None:
    assert look(settings, sessions, registry) is not None
    with sessions.begin() as session:
        session.execute(text("UPDATE drift_windows SET window_to = now() + interval '1 day'"))
    assert look(settings, sessions, registry) is not None


def test_the_loop_outlives_a_look_that_fails(
    sessions: Sessions, often: Settings, registry: ModelRegistry, tmp_path: Path, use
) -> None:
    use(fields(1, 1), UNWATCHED)
    card = tmp_path / UNWATCHED / "1" / "card.json"
    card.write_text("{")
    stop = threading.Event()
    patient = often.model_copy(update={"monitoring_interval_seconds": 0.05})
    loop = threading.Thread(target=run_monitoring, args=(patient, sessions, registry, stop))
    loop.start()
    try:
        assert not stop.wait(0.3)
        assert count(sessions, DriftWindowRow) == 0
        card.write_text("{}")
        eventually(lambda: count(sessions, DriftWindowRow) > 0)
    finally:
        stop.set()
        loop.join()


def test_the_query_of_a_window_uses_its_index(sessions: Sessions) -> None:
    with sessions() as session:
        session.execute(text("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"))
        plan = session.scalars(
            text(
                "EXPLAIN SELECT job_id FROM results WHERE created_at > now() - interval '1 day' "
                "ORDER BY created_at DESC, job_id DESC LIMIT 100"
            )
        ).all()
    assert "ix_results_created_at" in "".join(plan)
    assert "Sort" not in "".join(plan)


def test_agreement_is_shown_where_there_are_reviews(client, use) -> None:
    jobs = use(fields(1, 4))
    assert samples(client, "hemotriage_review_agreement_ratio") == {}
    for job in jobs[:3]:
        client.post(f"/v1/jobs/{job.id}/review", json={"decision": "confirm"})
    body = {"decision": "override", "label": "Pro"}
    client.post(f"/v1/jobs/{jobs[3].id}/review", json=body)
    assert samples(client, "hemotriage_review_agreement_ratio") == {("watched@1",): 0.75}
    reviewed = {("confirm", "watched@1"): 3, ("override", "watched@1"): 1}
    assert samples(client, "hemotriage_reviewed_jobs") == reviewed
    overridden = samples(client, "hemotriage_review_overridden_jobs")
    assert overridden == {("Pro", "watched@1", "Benign"): 1}
    bounds = samples(client, "hemotriage_review_agreement_bound_ratio")
    assert bounds["lower", "watched@1"] < 0.75 < bounds["upper", "watched@1"]


def test_metrics_need_no_key_and_their_names_are_ours(
    settings: Settings, sessions: Sessions, often: Settings, registry: ModelRegistry, use
) -> None:
    use(fields(1, 1))
    look(often, sessions, registry)
    answer = create_app(settings).test_client().get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    assert all(one.name.startswith("hemotriage_") and one.documentation for one in families)
    with sessions() as session:
        now = session.scalar(select(func.extract("epoch", func.now())))
    (end,) = samples(
        create_app(settings).test_client(), "hemotriage_drift_window_end_timestamp_seconds"
    ).values()
    assert abs(float(now) - end) < 60


def test_metrics_without_the_database_say_that_it_is_away(settings: Settings) -> None:
    url = settings.database_url.get_secret_value()
    port = url.rsplit(":", 1)[1].split("/")[0]
    broken = settings.model_copy(update={"database_url": SecretStr(url.replace(port, "9"))})
    client = create_app(broken).test_client()
    ready = samples(client, "hemotriage_ready")
    assert (ready["database",], ready["broker",]) == (0, 1)
    assert samples(client, "hemotriage_api_requests_running") == {(): 1}
    assert samples(client, "hemotriage_jobs_queued") == {}
