"""Engines and sessions."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from shared.settings import Settings

Sessions = sessionmaker[Session]


def create_database(settings: Settings, *, pool_size: int) -> Engine:
    """Make the engine of a process; nothing connects before its first use.

    Args:
        settings: Where the database is, and how long a connection may take.
        pool_size: Connections kept open; the process never opens more.
    """
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=settings.connect_timeout_seconds,
        pool_pre_ping=True,
        # The text of an error is logged, and parameters are what a patient could be known by.
        hide_parameters=True,
        connect_args={"connect_timeout": max(2, round(settings.connect_timeout_seconds))},
    )


def create_sessions(engine: Engine) -> Sessions:
    """Make the session factory; use it as `with sessions.begin() as session`."""
    return sessionmaker(engine, expire_on_commit=False)
