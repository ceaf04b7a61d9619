"""Past a depth or a rate jobs are refused, with a time to come back; nothing is half accepted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, text

from services.api.app import create_app
from shared.db.models import JobRow
from shared.db.session import Sessions
from shared.settings import Settings
from tests.factories import smear_bytes
from tests.integration.posting import authorised, post


def client_of(settings: Settings, sessions: Sessions, **key: object) -> FlaskClient:
    return authorised(create_app(settings), sessions, **key)


def count(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(JobRow))


def test_a_full_queue_refuses_and_a_queue_of_another_priority_does_not(
    settings, sessions, storage
) -> None:
    small = settings.model_copy(update={"max_queued_jobs": 3})
    client = client_of(small, sessions)
    answers = [post(client, smear_bytes()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 503, 503]
    assert answers[-1].json["code"] == "queue_full"
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert post(client, smear_bytes(), priority="stat").status_code == 202
    with sessions.begin() as session:
        session.execute(
            text(
                "UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE ctid = "
                "(SELECT ctid FROM jobs WHERE priority = 'routine' LIMIT 1)"
            )
        )
    assert post(client, smear_bytes()).status_code == 202, "a place came free"
    assert count(sessions) == 5


def test_racing_requests_go_over_a_depth_by_no_more_than_run_at_once(
    settings, sessions, storage
) -> None:
    client = client_of(settings.model_copy(update={"max_queued_jobs": 5}), sessions)
    headers = {"Authorization": client.environ_base["HTTP_AUTHORIZATION"]}

    def send(_: int) -> int:
        return post(client.application.test_client(), smear_bytes(), headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(send, range(20)))
    assert set(statuses) == {202, 503}
    assert 5 <= statuses.count(202) == count(sessions) < 5 + 4


@pytest.mark.parametrize("where", ["of the key", "of the service"])
def test_a_key_over_its_rate_is_told_when_to_come_back(settings, sessions, storage, where) -> None:
    if where == "of the key":
        client = client_of(settings, sessions, jobs_per_minute=2)
    else:
        client = client_of(settings.model_copy(update={"key_jobs_per_minute": 2}), sessions)
    answers = [post(client, smear_bytes()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[-1].json["code"] == "rate_exceeded"
    assert 50 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert post(client_of(settings, sessions), smear_bytes()).status_code == 202, "another key"
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET submitted_at = submitted_at - interval '61 s'"))
    assert post(client, smear_bytes()).status_code == 202, "a minute has passed"


def test_the_rate_of_a_key_goes_before_that_of_the_service(settings, sessions, storage) -> None:
    strict = settings.model_copy(update={"key_jobs_per_minute": 1})
    client = client_of(strict, sessions, jobs_per_minute=3)
    assert [post(client, smear_bytes()).status_code for _ in range(4)] == [202, 202, 202, 429]


def test_refused_requests_do_not_count(settings, sessions, storage) -> None:
    client = client_of(settings, sessions, jobs_per_minute=1)
    assert post(client, b"no image").status_code == 415
    assert post(client, smear_bytes()).status_code == 202
