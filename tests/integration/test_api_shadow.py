"""What a challenger says of the results, over HTTP."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from shared.db.session import Sessions
from shared.registry.shadow_tasks import keep, pending
from shared.storage.s3 import S3Store
from tests.integration.shadows import challenge, finished, said

SHADOW = "/v1/models/cnn_custom/versions/1/shadow"


@pytest.fixture
def jobs(sessions: Sessions, storage: S3Store, key_id: str) -> list[str]:
    """Five jobs that the champion calls `Early` and urgent: what the challenger says differs."""
    challenge(sessions)
    ids = [finished(sessions, storage, key_id, "Early", "urgent") for _ in range(5)]
    tasks = {task.job_id: task for task in pending(sessions, limit=10)}
    keep(sessions, tasks[ids[0]], said(ids[0], "Early", "urgent"))
    for job_id in ids[1:4]:
        keep(sessions, tasks[job_id], said(job_id, "Benign", "review"))
    keep(sessions, tasks[ids[4]], "corrupt_image")
    return [str(job_id) for job_id in ids]


def test_agreement_is_counted(client: FlaskClient, jobs: list[str]) -> None:
    client.post(f"/v1/jobs/{jobs[1]}/review", json={"decision": "confirm"})
    found = client.get(SHADOW).json
    assert found["model"] == "cnn_custom@1"
    assert (found["jobs"], found["errors"], found["compared"]) == (5, 1, 4)
    assert (found["agreeing"], found["same_prediction"], found["same_urgency"]) == (1, 1, 1)
    assert (found["lowered"], found["raised"]) == (3, 0)
    assert (found["to_benign"], found["to_malignant"]) == (3, 0)
    assert found["confusion"]["Early"] == {"Benign": 3, "Early": 1, "Pre": 0, "Pro": 0}
    assert found["reviewed"] == {"jobs": 1, "result_right": 1, "challenger_right": 0}
    assert found["first_at"] < found["last_at"]
    assert 0 < found["challenger_confidence"] <= 1


def test_disagreements_are_listed_newest_first_and_in_pages(
    client: FlaskClient, jobs: list[str]
) -> None:
    client.post(f"/v1/jobs/{jobs[3]}/review", json={"decision": "override", "label": "Pre"})
    first = client.get(f"{SHADOW}/disagreements?limit=2").json["disagreements"]
    assert [one["job_id"] for one in first] == [jobs[3], jobs[2]]
    assert first[0]["review"] == "Pre"
    both = (first[0]["result"], first[0]["challenger"])
    opinions = [(one["model"], one["prediction"], one["urgency"]) for one in both]
    assert opinions == [("student@2", "Early", "urgent"), ("cnn_custom@1", "Benign", "review")]
    rest = client.get(f"{SHADOW}/disagreements?before={jobs[2]}").json["disagreements"]
    assert [one["job_id"] for one in rest] == [jobs[1]]


def test_a_version_that_looked_at_nothing_has_nothing_to_say(client: FlaskClient) -> None:
    found = client.get(SHADOW).json
    assert (found["jobs"], found["result_confidence"], found["first_at"]) == (0, None, None)
    assert client.get(f"{SHADOW}/disagreements").json == {"disagreements": []}


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        (SHADOW.replace("/1/", "/99/"), (404, "not_found")),
        (f"{SHADOW.replace('/1/', '/99/')}/disagreements", (404, "not_found")),
        (f"{SHADOW}/disagreements?before=yesterday", (422, "validation_failed")),
        (f"{SHADOW}/disagreements?limit=0", (422, "validation_failed")),
        ("/v1/gates/00000000-0000-4000-8000-000000000000", (404, "not_found")),
        ("/v1/gates?model=%00", (422, "validation_failed")),
        ("/v1/gates?limit=1000", (422, "validation_failed")),
    ],
)
def test_odd_questions_are_refused(
    client: FlaskClient, path: str, refusal: tuple[int, str]
) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"]) == refusal
