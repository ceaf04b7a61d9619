"""Hearing what the database tells, until the engine is disposed of."""

from __future__ import annotations

from sqlalchemy import Engine, text

from shared.db.listen import Listener
from shared.db.session import create_database
from shared.settings import Settings
from tests.waiting import eventually

CHANNEL = "test_listen"


def listening(database: Engine) -> int:
    """How many connections listen on the channel."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE query = :query"
    with database.connect() as connection:
        return connection.scalar(text(asked), {"query": f"LISTEN {CHANNEL}"})


def test_a_listener_ends_with_its_engine(settings: Settings, database: Engine) -> None:
    """Else each application that a process makes and drops leaves a thread and a connection."""
    heard: list[str] = []
    engine = create_database(settings, pool_size=1)
    listener = Listener(engine, CHANNEL, heard=heard.append)
    listener.start()
    eventually(lambda: listener.is_listening, 20)
    assert listening(database) == 1
    with database.begin() as connection:
        connection.execute(text(f"NOTIFY {CHANNEL}, 'told'"))
    eventually(lambda: heard == ["told"], 20)
    engine.dispose()
    eventually(lambda: listening(database) == 0, 20)
    assert not listener.is_listening
