"""Takes training runs, one after the other, and sees each through in a child process."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from services.trainer.child_process import TrainingChild
from services.trainer.device_lock import device_lock
from services.trainer.finish import finish, run_folder
from services.trainer.reports import OUTAGES, Heard
from shared.db.listen import LOOK_SECONDS
from shared.db.session import Sessions
from shared.errors import TransientError
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.trainings.claim import claim, give_up, hand_back, renew
from shared.trainings.states import TrainingClaim

_log = logging.getLogger(__name__)

_BEATS_A_LEASE = 4
_POLL_SECONDS = 0.5
_PAUSE_SECONDS = 1.0

Ending = Callable[[], object]


class Runner:
    """Takes runs until it is told to stop; use it from the main thread."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        storage: ObjectStore,
        stopping: threading.Event,
        *,
        turned: Callable[[], object] = bool,
    ) -> None:
        """Put it together; nothing is taken before `run`.

        Args:
            settings: The lease, the number of attempts and the work folder.
            sessions: The database.
            storage: The object store.
            stopping: Ends what runs; it is handed back.
            turned: Called at each turn of the loop.
        """
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._stopping = stopping
        self._turned = turned
        self._asked = threading.Event()
        self._worker = f"trainer-{os.getpid()}@{socket.gethostname()}"

    def wake(self, *_: object) -> None:
        """Have the queue, or the wish to stop, looked at now."""
        self._asked.set()

    def run(self) -> None:
        """Take what waits, and whatever comes."""
        while not self._stopping.is_set():
            self._asked.clear()
            self._turned()
            try:
                while self._take_one():
                    self._turned()
            except OUTAGES as error:
                _log.warning("waiting for the database", extra={"error": type(error).__name__})
            self._asked.wait(LOOK_SECONDS)

    def _take_one(self) -> bool:
        """See one run through; whether there was one to take."""
        if self._stopping.is_set():
            return False
        with device_lock(self._settings.trainer_work) as lock:
            if lock is None:
                return False
            held = claim(
                self._sessions,
                worker=self._worker,
                lease_seconds=self._settings.lease_seconds,
                max_attempts=self._settings.max_attempts,
            )
            if held is None:
                return False
            _log.info("training begins", extra=_ids(held))
            self._see_through(held, lock)
            return True

    def _see_through(self, held: TrainingClaim, lock: int) -> None:
        folder = run_folder(self._settings.trainer_work, held.run_id)
        heard = Heard()
        try:
            child = TrainingChild(held.run_id, folder, lock)
        except OSError as error:  # no memory or no room on the disk
            _log.exception("no child", extra=_ids(held))
            self._write(held, heard, self._giving_up(held, error))
            return
        try:
            ending = self._followed(child, held, heard)
        except Exception as error:  # the attempt must end or go back, whatever was raised
            _log.exception("attempt failed", extra=_ids(held))
            ending = self._giving_up(held, error)
        finally:
            child.end()
        self._write(held, heard, ending)

    def _followed(self, child: TrainingChild, held: TrainingClaim, heard: Heard) -> Ending:
        """Follow a child to its end, or to that of the claim; gives what is then to be written."""
        due = 0.0
        while not child.is_silent:
            for line in child.lines(_POLL_SECONDS):
                heard.hear(line)
            if self._stopping.is_set():
                _log.info("handing back", extra=_ids(held))
                return partial(hand_back, self._sessions, held)
            if heard.told or time.monotonic() > due:
                self._turned()
                if not self._beat(held, heard):
                    _log.warning("lost claim", extra=_ids(held))
                    return bool
                due = time.monotonic() + self._settings.lease_seconds / _BEATS_A_LEASE
        if child.exit_code() == 0:
            _log.info("trained", extra=_ids(held))
            return partial(finish, self._settings, self._sessions, self._storage, held)
        error = heard.error or child.cause_of_death()
        _log.warning("attempt failed", extra={**_ids(held), "error": str(error)})
        return self._giving_up(held, error)

    def _giving_up(self, held: TrainingClaim, error: Exception) -> Ending:
        limit = self._settings.max_attempts
        return partial(give_up, self._sessions, held, error, max_attempts=limit)

    def _beat(self, held: TrainingClaim, heard: Heard) -> bool:
        """Renew the lease and write what was told; whether the run may go on."""
        try:
            return self._renew(held, heard)
        except OUTAGES as error:  # training goes on, what it tells is kept
            _log.warning("no heartbeat", extra={"error": type(error).__name__})
            return True

    @contextmanager
    def _beating(self, held: TrainingClaim, heard: Heard) -> Iterator[None]:
        """Renew the lease meanwhile: to store a version may take longer than it lasts."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._settings.lease_seconds / _BEATS_A_LEASE):
                self._beat(held, heard)

        beating = threading.Thread(target=beat, name="beating", daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()

    def _renew(self, held: TrainingClaim, heard: Heard) -> bool:
        told = heard.told[:]
        holds = renew(
            self._sessions,
            held,
            lease_seconds=self._settings.lease_seconds,
            progress=heard.progress,
            seconds_left=heard.seconds_left,
            device=heard.device,
            told=told,
        )
        del heard.told[: len(told)]
        return holds

    def _write(self, held: TrainingClaim, heard: Heard, ending: Ending) -> None:
        """Write an ending. What took hours to train is not lost because a server restarts."""
        has_failed = False
        while True:
            try:
                if self._renew(held, heard):
                    with self._beating(held, heard):
                        ending()
            except (*OUTAGES, TransientError) as error:
                _log.warning("waiting for a server", extra={"error": type(error).__name__})
            except Exception as error:  # the trainer must outlive whatever it meets
                _log.exception("ending failed", extra=_ids(held))
                if has_failed:
                    return  # its lease runs out
                ending, has_failed = self._giving_up(held, error), True
            else:
                return
            self._turned()
            if self._stopping.wait(_PAUSE_SECONDS):
                return  # its lease runs out


def _ids(held: TrainingClaim) -> dict[str, object]:
    return {"training": str(held.run_id), "attempt": held.attempt}
