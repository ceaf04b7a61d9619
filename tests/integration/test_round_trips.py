"""What the API remembers for a moment, so that not each request asks the database."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, event

from shared.auth.keys import Scope, create_key, revoke_key
from shared.auth.known import KnownKeys
from shared.auth.tenants import DEFAULT_TENANT
from shared.clock import utc_now
from shared.db.models import OutboxRow
from shared.errors import KeyExpiredError, KeyRevokedError, UnauthorizedError
from shared.jobs.admission import Admission, QueueFullError
from shared.jobs.claim import claim, renew
from shared.jobs.complete import complete
from shared.jobs.outbox import Outbox
from shared.jobs.states import Priority
from shared.webhooks.admin import list_events
from tests.integration.jobs import Recorder, a_result, count, post
from tests.waiting import eventually


@pytest.fixture
def statements(database: Engine) -> Iterator[list[str]]:
    """The statements that are sent, as they are."""
    sent: list[str] = []

    def remember(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement)

    event.listen(database, "before_cursor_execute", remember)
    yield sent
    event.remove(database, "before_cursor_execute", remember)


def is_refused(call: Callable[[], object], error: type[Exception]) -> bool:
    try:
        call()
    except error:
        return True
    return False


def test_a_known_key_is_not_asked_for_again(sessions, statements) -> None:
    key, text = create_key(sessions, "pacs", [Scope.READ])
    keys = KnownKeys(sessions)
    statements.clear()
    assert [keys.authenticate(text) for _ in range(5)] == [key] * 5
    assert len(statements) == 1


def test_a_revoked_key_is_refused_soon(sessions) -> None:
    key, text = create_key(sessions, "pacs", [Scope.READ])
    keys = KnownKeys(sessions)
    keys.authenticate(text)
    revoke_key(sessions, key.id)
    eventually(lambda: is_refused(lambda: keys.authenticate(text), KeyRevokedError), 5)


def test_a_known_key_that_expires_is_refused_at_once(sessions) -> None:
    soon = utc_now() + dt.timedelta(seconds=2)
    _, text = create_key(sessions, "pacs", [Scope.READ], expires_at=soon)
    keys = KnownKeys(sessions)
    keys.authenticate(text)
    time.sleep((soon - utc_now()).total_seconds() + 0.1)
    with pytest.raises(KeyExpiredError):
        keys.authenticate(text)


def test_a_wrong_key_is_never_known(sessions) -> None:
    _, text = create_key(sessions, "pacs", [Scope.READ])
    keys = KnownKeys(sessions)
    keys.authenticate(text)
    for _ in range(2):
        with pytest.raises(UnauthorizedError):
            keys.authenticate(text[:-4] + "AAAA")


def test_a_queue_is_counted_once_while_it_is_far_from_full(
    sessions, settings, key_id, statements
) -> None:
    key, _ = create_key(sessions, "pacs", [Scope.SUBMIT])
    admission = Admission(sessions, settings)
    statements.clear()
    for _ in range(5):
        admission.admit(key, Priority.ROUTINE)
    assert len(statements) == 1
    admission.admit(key, Priority.STAT)
    assert len(statements) == 2, "each queue for itself"


def test_a_queue_near_its_bound_is_counted_for_each_job(
    sessions, settings, storage, key_id
) -> None:
    key, _ = create_key(sessions, "pacs", [Scope.SUBMIT])
    admission = Admission(sessions, settings.model_copy(update={"max_queued_jobs": 1}))
    admission.admit(key, Priority.ROUTINE)
    post(sessions, storage, key_id)
    with pytest.raises(QueueFullError):
        admission.admit(key, Priority.ROUTINE)


def test_what_was_sent_is_removed_without_being_asked(sessions, storage, key_id) -> None:
    outbox = Outbox(sessions, Recorder())
    post(sessions, storage, key_id, outbox=outbox)
    eventually(lambda: count(sessions, OutboxRow) == 0, 10)


def test_who_posts_does_not_wait_for_the_broker(sessions, storage, key_id) -> None:
    answers = threading.Event()

    class Frozen(Recorder):
        def __call__(self, *message: object) -> None:
            assert answers.wait(60)
            super().__call__(*message)

    broker = Frozen()
    outbox = Outbox(sessions, broker)
    jobs = [post(sessions, storage, key_id, outbox=outbox).job for _ in range(2)]
    assert broker.sent == []
    answers.set()
    eventually(lambda: [job_id for job_id, _ in broker.sent] == [job.id for job in jobs], 10)
    eventually(lambda: count(sessions, OutboxRow) == 0, 10)


def test_what_waits_for_a_broker_that_is_down_is_left_to_the_relay(
    sessions, storage, key_id
) -> None:
    broker = Recorder(down=True)
    outbox = Outbox(sessions, broker)
    for _ in range(3):
        post(sessions, storage, key_id, outbox=outbox)
    outbox.flush()
    broker.down = False
    post(sessions, storage, key_id, outbox=outbox)
    eventually(lambda: len(broker.sent) == 1 and count(sessions, OutboxRow) == 3, 10)


def test_a_job_is_posted_in_one_statement(sessions, storage, key_id, statements) -> None:
    outbox = Outbox(sessions, Recorder(down=True))
    statements.clear()
    post(sessions, storage, key_id, outbox=outbox)
    assert len(statements) == 1


def test_many_jobs_are_claimed_and_ended_in_as_few_statements_as_one(
    sessions, storage, key_id, statements
) -> None:
    sent = {}
    for size in (2, 8):
        ids = [post(sessions, storage, key_id).job.id for _ in range(size)]
        statements.clear()
        claims = claim(sessions, ids, worker="w", lease_seconds=60)
        assert set(claims) == set(ids)
        done = complete(sessions, [(held, a_result(held.job_id)) for held in claims.values()])
        assert done == set(claims.values())
        sent[size] = len(statements)
    assert sent[2] == sent[8]


def test_groups_that_share_jobs_end_each_job_once_and_never_wait_in_a_ring(
    sessions, storage, key_id
) -> None:
    ids = [post(sessions, storage, key_id).job.id for _ in range(12)]
    start = threading.Barrier(4)

    def run(number: int) -> list[object]:
        start.wait(10)
        order = ids if number % 2 else list(reversed(ids))
        return list(claim(sessions, order, worker=f"w{number}", lease_seconds=60).values())

    with ThreadPoolExecutor(4) as pool:
        claims = [held for found in pool.map(run, range(4)) for held in found]
    assert sorted(held.job_id for held in claims) == sorted(ids)


def test_a_heartbeat_and_a_group_of_results_never_wait_in_a_ring(sessions, storage, key_id) -> None:
    ids = [post(sessions, storage, key_id).job.id for _ in range(20)]
    claims = list(claim(sessions, ids, worker="w", lease_seconds=60).values())
    with ThreadPoolExecutor(3) as pool:
        beats = [
            pool.submit(renew, sessions, order, lease_seconds=60)
            for order in (claims, claims[::-1]) * 20
        ]
        done = complete(sessions, [(held, a_result(held.job_id)) for held in claims[::-1]])
        for beat in beats:
            assert beat.result(30) <= set(ids)
    assert done == set(claims)


def test_a_result_that_is_pushed_is_ended_in_the_same_statement(
    sessions, storage, key_id, statements
) -> None:
    job_id = post(sessions, storage, key_id).job.id
    claims = claim(sessions, [job_id], worker="w", lease_seconds=60)
    statements.clear()
    results = [(held, a_result(held.job_id)) for held in claims.values()]
    assert complete(sessions, results, destinations=["mllp://lis:2575", "dicom://PACS@pacs:104"])
    assert len(statements) == 1
    (pushed,) = list_events(sessions, undelivered=True, limit=10, tenant=DEFAULT_TENANT)
    assert (pushed.job_id, pushed.to) == (job_id, "mllp://lis:2575")
