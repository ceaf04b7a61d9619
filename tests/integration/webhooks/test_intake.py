"""A callback in a request: checked at the door, told at the end."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from services.api.app import create_app
from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.webhooks.deliver import take_due
from tests.factories import smear_bytes
from tests.integration.posting import authorised, post
from tests.integration.webhooks.events import PATIENT, attempt


@pytest.fixture
def client(calling: Settings, sessions: Sessions, storage: S3Store) -> FlaskClient:
    return authorised(create_app(calling), sessions)


def test_a_job_that_is_posted_with_a_callback_tells_its_end(
    client, sessions, calling, receiver
) -> None:
    accepted = post(client, smear_bytes(), callback_url=receiver.url, **PATIENT)
    assert accepted.status_code == 202, accepted.json
    assert take_due(sessions, calling) is None, "nothing has ended"
    job = accepted.json["links"]["self"]
    assert client.delete(job).status_code == 200
    attempt(sessions, calling)
    (told,) = receiver.calls
    assert told.is_signed()
    assert told.document["type"] == "job.cancelled"
    assert told.document["data"]["links"]["self"] == job


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/", "callback_not_allowed"),
        ("http://127.0.0.1@evil/", "callback_not_allowed"),
        ("http://127.1/", "callback_not_allowed"),
        ("nonsense", "callback_not_allowed"),
        ("", "validation_failed"),
        ("http://127.0.0.1/" + "a" * 2048, "validation_failed"),
    ],
)
def test_a_callback_that_is_not_allowed_is_refused(client, url: str, code: str) -> None:
    answer = post(client, smear_bytes(), callback_url=url)
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert answer.json["detail"]
    assert client.get("/v1/jobs").json["jobs"] == []


def test_another_callback_is_another_request(client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    urls = ("http://127.0.0.1/a", "http://127.0.0.1/a", "http://127.0.0.1/b")
    answers = [post(client, smear_bytes(), headers=headers, callback_url=url) for url in urls]
    assert [answer.status_code for answer in answers] == [202, 200, 409]
