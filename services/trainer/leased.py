"""Works on the rows of a queue, one after the other, until the trainer stops.

The work is done in a thread of its own: the one that took the row renews its lease, and leaves at
once when the trainer stops.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from shared.db.listen import LOOK_SECONDS
from shared.db.session import Sessions
from shared.errors import TransientError
from shared.outage import is_outage
from shared.settings import Settings

_log = logging.getLogger(__name__)

_BEATS_A_LEASE = 4
_TURN_SECONDS = 0.2
_RETRY_SECONDS = 1.0

Ending = Callable[[], object]
CarryOn = Callable[[], object]


class ClaimLostError(Exception):
    """Another trainer has it, or this one stops."""


class DatabaseAwayError(TransientError):
    """The database does not answer."""

    code = "database_unavailable"


class Claimed(Protocol):
    """A row in a trainer's hands."""

    @property
    def id(self) -> uuid.UUID:
        """The row's."""

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 1."""


Held = TypeVar("Held", bound=Claimed)
Done = TypeVar("Done")
Done_contra = TypeVar("Done_contra", contravariant=True)


class Queue(Protocol[Held, Done_contra]):
    """How rows are claimed and ended; `shared.datasets.claim` is one."""

    def claim(
        self, sessions: Sessions, *, worker: str, lease_seconds: float, max_attempts: int
    ) -> Held | None:
        """Claim the row that has waited longest; None: nothing waits."""

    def renew(self, sessions: Sessions, held: Held, *, lease_seconds: float) -> bool:
        """Extend a lease; False where the claim was lost."""

    def complete(self, sessions: Sessions, held: Held, done: Done_contra, /) -> object:
        """End a row with what was done."""

    def give_up(
        self, sessions: Sessions, held: Held, error: Exception, *, max_attempts: int
    ) -> None:
        """End an attempt that raised."""

    def hand_back(self, sessions: Sessions, held: Held) -> None:
        """Put a row back; it counts nothing."""


@dataclass(frozen=True)
class Line(Generic[Held, Done]):
    """A queue, and what is done with its rows."""

    name: str
    """What logs call the queue."""
    row: str
    """What they call a row."""
    queue: Queue[Held, Done]
    do: Callable[[Held, CarryOn], Done]
    """Does the work. What it is given is to be called between steps; what that raises ends it."""
    is_outdated: Callable[[object], bool] = lambda completed: False
    """Of what completing said: whether the same claim is to be worked on anew."""
    left: Callable[[Held], object] = bool
    """Called when nothing more is done with a claim."""
    idle: Callable[[], object] = bool
    """Called when nothing waits."""


def run_line(
    line: Line[Held, Done],
    settings: Settings,
    sessions: Sessions,
    stop: threading.Event,
    *,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Take what waits, and whatever comes, until `stop` is set.

    What runs then is handed back, without counting as a failure; its thread may go on for a while,
    and ends with the process.

    Args:
        line: The queue and the work.
        settings: The lease and the number of attempts.
        sessions: The database; two connections are used at once.
        stop: Ends it.
        look_seconds: How often it looks whether anything waits.
    """
    leased = _Leased(line, settings, sessions, stop)
    while not stop.is_set():
        try:
            worked = leased.take_one()
            if not worked:
                line.idle()
        except (TransientError, SQLAlchemyError) as error:
            worked = False
            _log.warning(f"{line.name} wait for a server", extra={"error": type(error).__name__})
        except Exception:  # the thread must outlive whatever it meets
            worked = False
            _log.exception(f"{line.name} wait")
        if not worked:
            stop.wait(look_seconds)


class _Work(Generic[Held]):
    """An attempt in its thread."""

    def __init__(self, held: Held, name: str, end: Callable[[_Work[Held]], Ending]) -> None:
        self.held = held
        self.is_lost = False
        self.ending: Ending | None = None
        self._end = end
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def carry_on(self) -> None:
        if self.is_lost:
            raise ClaimLostError

    def _run(self) -> None:
        self.ending = self._end(self)


class _Leased(Generic[Held, Done]):
    """Takes the rows of a queue, one at a time."""

    def __init__(
        self,
        line: Line[Held, Done],
        settings: Settings,
        sessions: Sessions,
        stop: threading.Event,
    ) -> None:
        self._line = line
        self._settings = settings
        self._sessions = sessions
        self._stop = stop
        self._worker = f"trainer-{os.getpid()}@{socket.gethostname()}"

    def take_one(self) -> bool:
        """Work on the row that has waited longest; False where nothing waits."""
        held = self._line.queue.claim(
            self._sessions,
            worker=self._worker,
            lease_seconds=self._settings.lease_seconds,
            max_attempts=self._settings.max_attempts,
        )
        if held is None:
            return False
        while self._line.is_outdated(self._attempt(held)):
            _log.info("done anew", extra=self._ids(held))
        self._line.left(held)
        return True

    def _attempt(self, held: Held) -> object:
        """Work on a claim, renewing it meanwhile, and write how it ended."""
        work = _Work(held, f"{self._line.row}-{held.id}", self._ending)
        work.thread.start()
        beat_at = 0.0
        while work.thread.is_alive():
            if self._stop.is_set():
                work.is_lost = True
                return self._write(partial(self._line.queue.hand_back, self._sessions, held))
            if time.monotonic() >= beat_at and not work.is_lost:
                beat_at = time.monotonic() + self._settings.lease_seconds / _BEATS_A_LEASE
                work.is_lost = not self._beat(held)
            work.thread.join(_TURN_SECONDS)
        return self._write(work.ending) if work.ending else None

    def _beat(self, held: Held) -> bool:
        lease = self._settings.lease_seconds
        try:
            return self._line.queue.renew(self._sessions, held, lease_seconds=lease)
        except SQLAlchemyError as error:
            _log.warning("no heartbeat", extra={**self._ids(held), "error": type(error).__name__})
            return True

    def _ending(self, work: _Work[Held]) -> Ending:
        """Do the work; returns what is then to be written."""
        held, queue = work.held, self._line.queue
        try:
            done = self._line.do(held, work.carry_on)
        except ClaimLostError:
            _log.warning("lost claim", extra=self._ids(held))
            return bool
        except Exception as error:  # it must end or go back, whatever was raised
            _log.warning("attempt failed", extra=self._ids(held), exc_info=error)
            away = isinstance(error, SQLAlchemyError) and is_outage(error)
            raised = DatabaseAwayError() if away else error
            limit = self._settings.max_attempts
            return partial(queue.give_up, self._sessions, held, raised, max_attempts=limit)
        return partial(queue.complete, self._sessions, held, done)

    def _write(self, ending: Ending) -> object:
        """Write how an attempt ended, however long the database is away."""
        while True:
            try:
                return ending()
            except SQLAlchemyError as error:
                if not is_outage(error) or self._stop.is_set():
                    raise
                _log.warning("waiting for the database", extra={"error": type(error).__name__})
                self._stop.wait(_RETRY_SECONDS)

    def _ids(self, held: Held) -> dict[str, object]:
        return {self._line.row: str(held.id), "attempt": held.attempt}
