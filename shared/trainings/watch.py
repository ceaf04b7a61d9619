"""Wakes those who listen to training runs when something is told of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from sqlalchemy import Engine

from shared.db.listen import LOOK_SECONDS, Listener, Waiters
from shared.db.session import Sessions
from shared.trainings.queue import events, get_status
from shared.trainings.states import TrainingEvent

_CHANNEL = "training_told"


class TrainingWatch:
    """Follows runs for all who listen in a process; safe to share between threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        """Prepare; nothing connects before the first call of `follow`."""
        self._sessions = sessions
        self._waiting: Waiters[str] = Waiters()
        self._listener = Listener(engine, _CHANNEL, heard=self._waiting.wake)

    def follow(self, run_id: uuid.UUID, *, after: int = 0) -> Iterator[list[TrainingEvent]]:
        """What is told of a run, from behind the event with the number `after`, until it ends.

        An empty list is given every two seconds while nothing is told: whoever is gone is found
        out by it. No connection to the database is held meanwhile.

        Raises:
            NotFoundError: There is no such run.
        """
        with self._waiting.told_of(str(run_id)) as told:
            self._listener.start()
            while True:
                told.clear()
                # The status first: what was told before the end is then read with it.
                status = get_status(self._sessions, run_id)
                found = events(self._sessions, run_id, after=after)
                after = found[-1].number if found else after
                yield found
                if status.is_final:
                    return
                told.wait(LOOK_SECONDS)
