"""Messages: sent once if it can be, found lost if they are, and harmless twice."""

import datetime as dt
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis import Redis
from sqlalchemy.exc import OperationalError

from shared.db.models import OutboxRow
from shared.jobs.outbox import send_due
from shared.jobs.states import Priority
from shared.jobs.sweep import announce_lost
from shared.queue.app import create_celery
from shared.queue.names import INFER_TASK
from tests.integration.jobs import (
    Broker,
    Recorder,
    age,
    count,
    make_due,
    post,
)


def test_intake_goes_on_while_the_broker_is_down_and_the_relay_catches_up(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id, Recorder(down=True)).job
    assert count(sessions, OutboxRow) == 1
    make_due(sessions)
    broker = Recorder()
    with sessions.begin() as session:
        assert send_due(session, broker, limit=10) == 1
    assert broker.sent == [(job.id, "routine")]
    assert count(sessions, OutboxRow) == 0


def test_an_accepted_job_is_answered_where_the_database_goes_before_its_message_is_sent(
    sessions, storage, key_id
) -> None:
    class Gone(Recorder):
        def __call__(self, *_: object) -> None:
            raise OperationalError("SELECT", {}, Exception("gone"))

    assert post(sessions, storage, key_id, Gone()).created
    assert count(sessions, OutboxRow) == 1


def test_a_slow_broker_gets_a_few_messages_at_a_time(
    sessions, storage, key_id, monkeypatch
) -> None:
    for _ in range(3):
        post(sessions, storage, key_id, Recorder(down=True))
    make_due(sessions)
    monkeypatch.setattr("shared.jobs.outbox._LONGEST_SENDING_SECONDS", 0.0)
    broker = Recorder()
    for left in (2, 1, 0):
        with sessions.begin() as session:
            assert send_due(session, broker, limit=100) == 1
        assert count(sessions, OutboxRow) == left
    assert len(set(broker.sent)) == 3


def test_a_message_from_before_the_clock_was_set_back_makes_no_other_lost(
    sessions, storage, key_id
) -> None:
    broker = Broker()
    for _ in range(3):
        post(sessions, storage, key_id, broker)
    age(sessions, 30)
    broker.announced = [at + dt.timedelta(hours=1) for at in broker.announced]
    assert announce_lost(sessions, broker, after_seconds=10) == 0


def test_what_was_announced_before_the_clock_was_set_back_is_announced_again_once(
    sessions, storage, key_id
) -> None:
    broker = Broker()
    post(sessions, storage, key_id, broker)
    age(sessions, -3600)
    broker.announced = [at + dt.timedelta(hours=1) for at in broker.announced]
    assert announce_lost(sessions, broker, after_seconds=10) == 1
    with sessions.begin() as session:
        send_due(session, broker, limit=10)
    assert announce_lost(sessions, broker, after_seconds=10) == 0


def test_a_message_without_its_time_makes_nothing_lost(sessions, settings, sender) -> None:
    redis = Redis.from_url(settings.broker_url.get_secret_value())
    redis.delete("urgent")
    assert sender.oldest("urgent") is None
    redis.rpush("urgent", json.dumps({"headers": {}}))
    assert sender.oldest("urgent").year == 1970
    redis.delete("urgent")
    at = dt.datetime.now(dt.UTC)
    sender(uuid.uuid4(), "urgent", at)
    assert sender.oldest("urgent") == at
    redis.delete("urgent")


def test_a_message_is_the_one_that_celery_sends_by_itself(settings, sender) -> None:
    """A worker reads the same as if kombu's own transport had sent it."""
    redis = Redis.from_url(settings.broker_url.get_secret_value())
    redis.delete("urgent")
    job_id, at = uuid.uuid4(), dt.datetime.now(dt.UTC)
    sender(job_id, "urgent", at)
    usual = create_celery(settings, answer_timeout=5)
    usual.conf.broker_transport = "redis"
    headers = {"announced_at": at.isoformat()}
    usual.send_task(INFER_TASK, args=[str(job_id)], queue="urgent", headers=headers)
    ours, usual_one = (of_any_id(json.loads(message)) for message in redis.lrange("urgent", 0, -1))
    assert ours == usual_one
    redis.delete("urgent")


def of_any_id(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what is new in each."""
    for name in ("id", "root_id"):
        uuid.UUID(message["headers"].pop(name))
    for name in ("correlation_id", "delivery_tag", "reply_to"):
        uuid.UUID(message["properties"].pop(name))
    return message


def test_sender_and_relay_keep_their_connections_and_make_anew_what_the_broker_closed(
    settings, sender
) -> None:
    redis = Redis.from_url(settings.broker_url.get_secret_value())

    def at_work() -> int:
        before = redis.info("stats")["total_connections_received"]
        for _ in range(3):
            sender(uuid.uuid4(), "urgent", dt.datetime.now(dt.UTC))
            sender.oldest("urgent")
        return redis.info("stats")["total_connections_received"] - before

    at_work()
    assert at_work() == 0
    redis.client_kill_filter(_type="normal", skipme=True)
    assert at_work() == 2
    assert redis.llen("urgent") == 9
    redis.delete("urgent")


def test_a_job_whose_message_the_broker_lost_is_announced_again(sessions, storage, key_id) -> None:
    broker = Broker()
    job = post(sessions, storage, key_id, broker).job
    age(sessions, 61)
    broker.sent.clear()
    broker.announced.clear()
    assert announce_lost(sessions, broker, after_seconds=60) == 1
    assert announce_lost(sessions, broker, after_seconds=60) == 0, "once is enough"
    with sessions.begin() as session:
        send_due(session, broker, limit=10)
    assert broker.sent == [(job.id, "routine")]


def test_a_backlog_is_not_announced_again_but_what_it_has_passed_is(
    sessions, storage, key_id
) -> None:
    broker = Broker()
    lost = post(sessions, storage, key_id, broker).job
    age(sessions, 100)
    for _ in range(3):
        post(sessions, storage, key_id, broker)
    other = post(sessions, storage, key_id, broker, priority=Priority.URGENT).job
    broker.announced = [at - dt.timedelta(seconds=50) for at in broker.announced]
    age(sessions, 50)
    for queue in (broker.sent, broker.announced):
        del queue[0]  # a killed worker took it
    assert announce_lost(sessions, broker, after_seconds=10) == 1
    with sessions.begin() as session:
        send_due(session, broker, limit=10)
    assert broker.sent[-1] == (lost.id, "routine")
    assert (other.id, "urgent") in broker.sent


def test_two_relays_send_each_message_once(sessions, storage, key_id) -> None:
    for _ in range(20):
        post(sessions, storage, key_id, Recorder(down=True))
    make_due(sessions)
    broker = Recorder()

    def relay(_: int) -> int:
        with sessions.begin() as session:
            return send_due(session, broker, limit=5)

    with ThreadPoolExecutor(4) as pool:
        sent = sum(pool.map(relay, range(4)))
    with sessions.begin() as session:
        sent += send_due(session, broker, limit=100)
    assert sent == 20
    assert len(set(broker.sent)) == len(broker.sent) == 20
