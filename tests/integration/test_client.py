"""The client reads what the real API answers."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hl7
import httpx
import pytest
from werkzeug.serving import make_server

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.client import Client, NotFinishedError, RefusedError
from shared.db.session import Sessions
from shared.interop.forms import ResultForm
from shared.jobs.claim import claim
from shared.jobs.complete import complete
from shared.jobs.states import Status
from shared.registry.policy import read_policy
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.triage.policy import Urgency
from tests import http_collection
from tests.canaries import FILE_NAME
from tests.datasets import drawn, importing, zipped
from tests.dicom import dicom_bytes
from tests.factories import smear_bytes
from tests.integration.jobs import a_result
from tests.integration.test_registry_command import bounded
from tests.registry import judged
from tests.trainings import TINY, a_ready_dataset

Opened = Callable[..., Client]

NAMED_BY = {
    "jobs": "job_id",
    "orders": "order_id",
    "workitems": "uid",
    "gates": "gate_id",
    "trainings": "run_id",
    "holds": "hold_id",
    "erasures": "erasure_id",
}
"""By which variable of the collection what a post makes is named."""


@pytest.fixture
def url(settings: Settings, sessions: Sessions, storage: S3Store) -> Iterator[str]:
    """The address of a real server."""
    server = make_server("127.0.0.1", 0, bounded(create_app(settings)), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def opened(url: str, sessions: Sessions) -> Opened:
    """Opens a client with a new key of some scopes."""

    def open_client(*scopes: Scope) -> Client:
        return Client(url, create_key(sessions, "client", list(scopes))[1], patience=5)

    return open_client


@pytest.fixture
def client(opened: Opened) -> Iterator[Client]:
    with opened(*Scope) as everything:
        yield everything


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / FILE_NAME
    path.write_bytes(smear_bytes())
    return path


def end(sessions: Sessions, job_id: str) -> None:
    """As a worker would."""
    known = uuid.UUID(job_id)
    held = claim(sessions, [known], worker="w", lease_seconds=60)[known]
    assert complete(sessions, [(held, a_result(known))])


def test_a_specimen_from_its_order_to_its_result(
    client: Client, sessions: Sessions, image: Path
) -> None:
    fields = {"accession_number": "A-17", "priority": "stat"}
    accepted = client.submit([image, image], fields=fields, idempotency_key="A-17")
    assert accepted.status is Status.QUEUED
    assert client.submit([image, image], fields=fields, idempotency_key="A-17") == accepted
    waiting = client.job(accepted.id)
    assert (waiting.priority, waiting.accession_number, waiting.result) == ("stat", "A-17", None)
    with pytest.raises(NotFinishedError):
        client.wait(accepted.id, timeout=0.1)

    end(sessions, accepted.id)
    result = client.wait(accepted.id, timeout=10).result
    assert (result.prediction, result.urgency) == ("Benign", Urgency.ROUTINE)
    assert result.images[0].probabilities[result.prediction] == result.confidence == 0.97
    assert result.fields.count == 1
    message = hl7.parse(client.result(accepted.id, form=ResultForm.HL7).decode())
    assert str(message.segment("OBR")[2]) == "A-17"
    assert client.image(accepted.id, 1) == image.read_bytes()


def test_what_is_refused_has_the_services_code_and_a_request_id(
    client: Client, image: Path
) -> None:
    waiting = client.submit([image])
    with pytest.raises(RefusedError) as refused:
        client.result(waiting.id)
    assert (refused.value.code, refused.value.status) == ("no_result", 409)
    assert refused.value.request_id
    with pytest.raises(RefusedError) as unknown:
        client.job(str(uuid.uuid4()))
    assert (unknown.value.code, unknown.value.status) == ("not_found", 404)


def test_a_key_without_the_scope_is_told_so(opened: Opened, image: Path) -> None:
    with opened(Scope.READ) as reading, pytest.raises(RefusedError) as refused:
        reading.submit([image])
    assert (refused.value.code, refused.value.status) == ("forbidden", 403)


def test_all_jobs_come_page_by_page(client: Client, image: Path) -> None:
    ids = [client.submit([image], fields={"specimen_id": f"S-{n}"}).id for n in range(3)]
    first = client.jobs(limit=2)
    assert [job.id for job in first.jobs] == ids[:0:-1]
    assert [job.id for job in client.jobs(limit=2, cursor=first.next_cursor).jobs] == ids[:1]
    assert [job.id for job in client.each_job(status="queued")] == ids[::-1]
    assert list(client.each_job(accession_number="A-17")) == []


def test_a_job_is_taken_back_once(client: Client, sessions: Sessions, image: Path) -> None:
    job_id = client.submit([image]).id
    assert client.cancel(job_id).status is Status.CANCELLED
    with pytest.raises(RefusedError) as refused:
        client.cancel(job_id)
    assert refused.value.code == "conflict"


def test_a_review_is_recorded_beside_the_result(
    client: Client, sessions: Sessions, image: Path
) -> None:
    job_id = client.submit([image]).id
    end(sessions, job_id)
    review = client.review(job_id, "override", label="Pre", comment="second smear agrees")
    assert (review.prediction, review.label, review.decision) == ("Benign", "Pre", "override")
    signed = client.reviews(job_id)
    assert (signed.case_state, signed.label) == (review.case_state, None)
    assert [one.id for one in signed.reviews] == [review.id]
    with pytest.raises(RefusedError) as refused:
        client.review(job_id, "override", label="Benign")
    assert refused.value.code == "review_contradicts"


def test_an_explanation_that_is_not_made_tells_how_far_it_is(
    client: Client, sessions: Sessions, image: Path
) -> None:
    job_id = client.submit([image]).id
    end(sessions, job_id)
    told: list[float] = []
    with pytest.raises(NotFinishedError):
        client.explanation(job_id, timeout=0.2, progress=told.append)
    assert told == [0.0]


def test_versions_gates_and_aliases(client: Client, sessions: Sessions) -> None:
    a_ready_dataset(sessions, locked=True)
    shipped = client.models()
    champion = shipped.aliases["champion"]
    assert champion in {f"{one.name}@{one.version}" for one in shipped.models}
    gate = client.request_gate("student", 2)
    assert (gate.model, gate.champion, gate.status) == ("student@2", champion, "queued")
    with pytest.raises(NotFinishedError):
        client.wait_for_gate(gate.id, timeout=0)
    with pytest.raises(RefusedError) as refused:
        client.set_alias("champion", "student", 2)
    assert refused.value.code == "gate_not_passed"
    changed = client.set_alias("challenger", "student", 2, canary_percent=0)
    assert changed.aliases["challenger"] == "student@2"
    assert client.shadow("student", 2).jobs == 0
    assert "challenger" not in client.retire_challenger().aliases


def test_a_rollback_names_the_champion_that_is_seen(
    client: Client, sessions: Sessions, settings: Settings
) -> None:
    before = client.models().aliases["champion"]
    judged(sessions, "student", 2, "passed", champion=before, policy=_policy(settings))
    assert client.set_alias("champion", "student", 2).aliases["champion"] == "student@2"
    assert client.roll_back(reason="a test").aliases["champion"] == before


def test_a_data_set_is_uploaded_and_imported(
    client: Client, settings: Settings, sessions: Sessions, storage: S3Store, tmp_path: Path
) -> None:
    asked = client.upload_dataset(io.BytesIO(zipped(drawn())), name="four fields", locked=True)
    assert (asked.status, asked.locked, asked.version) == ("queued", True, None)
    with importing(settings, sessions, storage, tmp_path):
        found = client.wait_for_dataset(asked.id, timeout=60)
    assert (found.status, found.counts["Early"], found.faults) == ("ready", 1, [])
    assert [one.version for one in client.datasets()] == [found.version]
    of_reviews = client.dataset_from_reviews(name="of reviews")
    assert (of_reviews.source, of_reviews.lineage["base"]) == ("reviews", None)


def test_a_training_is_asked_for_followed_and_taken_back(
    client: Client, sessions: Sessions
) -> None:
    dataset_id = str(a_ready_dataset(sessions))
    run = client.train({"architecture": "cnn_custom", "dataset_id": dataset_id, "overrides": TINY})
    assert (run.status, run.overrides, run.epochs) == ("queued", TINY, [])
    assert [one.id for one in client.trainings(status="queued")] == [run.id]
    assert client.cancel_training(run.id).status == "cancelled"
    statuses = [event.told["status"] for event in client.follow_training(run.id)]
    assert statuses[-1] == client.training(run.id).status == "cancelled"
    with pytest.raises(RefusedError) as refused:
        list(client.follow_training(str(uuid.uuid4())))
    assert refused.value.code == "not_found"


def test_an_order_is_placed_changed_met_by_a_job_and_taken_back(
    client: Client, image: Path
) -> None:
    placed = client.place_order("A-18", specimen_id="S-1", scheduled_at="2026-01-01T08:00:00Z")
    changed = client.place_order("A-18", specimen_id="S-2", priority="stat")
    assert (changed.id, changed.specimen_id, changed.scheduled_at) == (placed.id, "S-2", None)
    job = client.job(client.submit([image], fields={"accession_number": "A-18"}).id)
    assert (job.priority, job.specimen_id) == ("stat", "S-2")
    met = client.order(placed.id)
    assert (met.job_id, met.job_status, met.links.job) == (job.id, "queued", job.links.self)
    other = client.place_order("A-19")
    assert [order.id for order in client.orders().orders] == [other.id, placed.id]
    assert client.cancel_order(other.id).state == "cancelled"
    assert [order.id for order in client.each_order(state="expected")] == [placed.id]


def test_each_request_of_the_collection_is_one_that_the_api_understands(
    url: str, sessions: Sessions
) -> None:
    """Ids are taken from the answers; what the state forbids is understood too."""
    a_ready_dataset(sessions, locked=True)
    values = {
        **http_collection.variables(),
        "address": url,
        "key": create_key(sessions, "client", list(Scope))[1],
        "dataset_id": str(a_ready_dataset(sessions)),
    }
    files = {
        "./field.png": smear_bytes(),
        "./field.dcm": dicom_bytes(study=values["study_uid"]),
        "./images.zip": zipped(drawn()),
    }
    with httpx.Client(trust_env=False) as http:
        for request in http_collection.requests():
            content = http_collection.content_of(request, values, files)
            with http.stream(**content) as answer:
                # What a training tells has no end yet.
                told = "" if "/events" in request.target else answer.read()
            # No relay runs here, which makes checkpoints.
            expected = (404, 409) if request.target.endswith("/audit/checkpoint") else (409,)
            assert answer.is_success or answer.status_code in expected, (request.title, told)
            made, name = answer.headers.get("Location"), request.target.rsplit("/", 1)[1]
            if made and name in NAMED_BY:
                values[NAMED_BY[name]] = made.rsplit("/", 1)[1]


def _policy(settings: Settings) -> str:
    return read_policy(settings.change_control_policy).sha256
