"""What the pool of a process does with its connections."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, text

from shared.db import session
from shared.db.session import create_database
from shared.settings import Settings


def served_by(engine: Engine) -> int:
    """The process of the server behind the pool's one connection."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT pg_backend_pid()"))


def test_an_old_connection_is_replaced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what its process keeps would grow for as long as ours lives."""
    monkeypatch.setattr(session, "_RECYCLE_SECONDS", 2.0)
    engine = create_database(settings, pool_size=1)
    first = served_by(engine)
    assert served_by(engine) == first
    time.sleep(2.1)
    assert served_by(engine) != first
