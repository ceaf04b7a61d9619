"""Engines and sessions."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Engine, Executable, Row, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

from shared.settings import Settings
from shared.telemetry.tracing import is_tracing, leaf

Sessions = sessionmaker[Session]

_ABANDONED_MILLISECONDS = 15_000
_IDLE_SECONDS = 1.0
_RECYCLE_SECONDS = 1_800
"""What a process of PostgreSQL keeps of tables and statements grows for as long as it lives."""

_USED_AT = "used_at"
_EVENTS = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


def create_database(settings: Settings, *, pool_size: int, patient: bool = False) -> Engine:
    """Make the engine of a process; nothing connects before its first use.

    A server that takes a statement and does not answer, as a frozen one, raises an
    `OperationalError` after `settings.answer_timeout_seconds`. What a frozen client of ours holds
    locked, the server frees after 15 seconds. A connection that is half an hour old is replaced, so
    that what the server keeps for it is bounded.

    Args:
        settings: Where the database is, and how long an answer may take.
        pool_size: Connections kept open; the process never opens more.
        patient: Wait for answers without end, as a migration must.
    """
    # Without a callback, psycopg2 waits for an answer for ever.
    extensions.set_wait_callback(_wait)
    timeouts = {
        "connect_timeout": settings.connect_timeout_seconds,
        "answer_timeout": None if patient else settings.answer_timeout_seconds,
    }
    factory = type("Connection", (_Connection,), timeouts)
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=settings.connect_timeout_seconds,
        pool_recycle=_RECYCLE_SECONDS,
        # The text of an error is logged, and parameters are what a patient could be known by.
        hide_parameters=True,
        connect_args={
            "connection_factory": factory,
            "options": f"-c idle_in_transaction_session_timeout={_ABANDONED_MILLISECONDS}",
        },
    )
    event.listen(engine, "checkin", _remember_use)
    event.listen(engine, "checkout", _check_idle)
    if is_tracing():
        _trace(engine)
    return engine


def create_sessions(engine: Engine) -> Sessions:
    """Make the session factory; use it as `with sessions.begin() as session`."""
    return sessionmaker(engine, expire_on_commit=False)


def execute(
    sessions: Sessions, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> Sequence[Row[Any]]:
    """Run one statement that is a transaction by itself, in one round trip; returns its rows.

    A session sends BEGIN before its first statement and COMMIT or ROLLBACK after its last: two
    more round trips, which is most of what a short transaction costs.
    """
    engine: Engine = sessions.kw["bind"]
    with engine.connect() as connection, _in_autocommit(connection.connection.driver_connection):
        result = connection.execute(statement, parameters)
        return result.all() if result.returns_rows else []


@contextmanager
def _in_autocommit(connection: Any) -> Iterator[None]:
    """Have the driver send no BEGIN; it changes that without asking the server.

    SQLAlchemy's isolation level AUTOCOMMIT would send a statement on its way back.
    """
    connection.autocommit = True
    try:
        yield
    finally:
        if not connection.closed:
            connection.autocommit = False


def _remember_use(connection: Any, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _check_idle(connection: Any, record: Any, proxy: Any) -> None:
    """Ask a connection that lay idle whether it still leads to the server.

    One that was used a moment ago is not asked: the question costs as much as a short statement.
    """
    used_at = record.info.get(_USED_AT)
    if used_at is None or time.monotonic() - used_at < _IDLE_SECONDS:
        return
    try:
        with _in_autocommit(connection), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        raise InvalidatePoolError from error


class _Connection(extensions.connection):  # type: ignore[misc]
    connect_timeout: float | None = None
    answer_timeout: float | None = None


def _wait(connection: Any) -> None:
    """Wait for the server's next answer, to a connection's beginning as to a statement."""
    beginning = connection.status == extensions.STATUS_SETUP
    phase = "connect_timeout" if beginning else "answer_timeout"
    # A connection that is none of ours has no limit.
    timeout = getattr(connection, phase, None)
    poller = select.poll()
    while (state := connection.poll()) != extensions.POLL_OK:
        if state not in _EVENTS:
            raise psycopg2.OperationalError(f"unexpected state {state} of a connection")
        descriptor = connection.fileno()
        poller.register(descriptor, _EVENTS[state])
        ready = poller.poll(None if timeout is None else timeout * 1000)
        poller.unregister(descriptor)
        if not ready:
            raise psycopg2.OperationalError(f"no answer within {timeout} s")


def _trace(engine: Engine) -> None:
    """Trace each statement by its first word; the rest of it names what is of nobody's concern."""

    def before(_: Any, __: Any, statement: str, ___: Any, context: Any, ____: Any) -> None:
        running = ExitStack()
        traced = running.enter_context(leaf("database"))
        operation = statement.split(maxsplit=1)[0].upper()
        traced.note(db__system__name="postgresql", db__operation__name=operation)
        context.hemotriage_running = running

    def after(_: Any, __: Any, ___: Any, ____: Any, context: Any, _____: Any) -> None:
        context.hemotriage_running.close()

    def failed(failure: Any) -> None:
        running = getattr(failure.execution_context, "hemotriage_running", None)
        if running is not None:
            error = failure.original_exception
            running.__exit__(type(error), error, None)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)
