"""Makes checkpoints of the chain: of nothing that was not computed again from the events.

Whoever rewrites the chain in the database alone gets no signature for it: the object store knows
the chain, as it was a second before, by a hash that the chain must go on from.
"""

from __future__ import annotations

import io
import logging

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from shared.audit.anchors import Anchors, newest_checkpoint, newest_told
from shared.audit.chain import GENESIS
from shared.audit.check import ChainCheck
from shared.audit.checkpoint import TAIL_KEY, Checkpoint, CheckpointError
from shared.audit.findings import Report
from shared.audit.links import ends, links
from shared.audit.signing import SigningKey
from shared.db.models import AuditCheckpointRow
from shared.db.session import Sessions, execute
from shared.storage import ObjectStore

_log = logging.getLogger(__name__)
_AT_TAIL = {"key": TAIL_KEY}

_CLOCK = text("""
    SELECT (to_jsonb(now AT TIME ZONE 'UTC') #>> '{}') || 'Z' AS at,
        now - make_interval(secs => :seconds) > COALESCE(CAST(:newest AS timestamptz), '-infinity')
            AS due
    FROM clock_timestamp() AS now
""")


class Notary:
    """Tells the object store of the chain each time, and makes a checkpoint at intervals.

    Any number may work at once, each of them by what it has seen itself.
    """

    def __init__(
        self,
        sessions: Sessions,
        storage: ObjectStore,
        key: SigningKey | None,
        *,
        checkpoint_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            sessions: The database.
            storage: Where checkpoints are kept besides.
            key: Signs; None: checkpoints are unsigned.
            checkpoint_seconds: The least time between two checkpoints.
        """
        self._sessions, self._storage, self._key = sessions, storage, key
        self._seconds = checkpoint_seconds
        self._anchors = Anchors(sessions, storage)
        self._seen: tuple[int, bytes] | None = None
        self._stored = 0

    def attest(self) -> bool:
        """Attest what is new.

        Returns:
            Whether the chain goes on from what was attested before; if not, nothing is.

        Raises:
            StorageUnavailableError: The object store does not answer.
        """
        try:
            since = self._seen or self._told()
        except CheckpointError:
            _log.error("the newest state is no checkpoint: nothing is attested", extra=_AT_TAIL)
            return False
        report = self._follow(*since)
        if report.found:
            # What was seen stays: else removing what both places knew would have it signed.
            problem = report.findings[0]
            told = {"position": problem.position, "problem": problem.problem.value}
            _log.error("the audit trail was changed: nothing is attested", extra=told)
            return False
        newest = newest_checkpoint(self._sessions)
        at, due = self._clock(newest)
        state = Checkpoint(report.position, report.hash, at)
        if state.position > 0 and (self._seen is None or state.position > since[0]):
            self._put(TAIL_KEY, self._signed(state))
        self._seen = (state.position, state.hash)
        self._keep(newest, state if due else None)
        return True

    def _told(self) -> tuple[int, bytes]:
        """What the object store knows of the chain; else its beginning."""
        told = newest_told(self._storage)
        if told is not None:
            return told.position, told.hash
        first, _ = ends(self._sessions)
        before = self._anchors.checkpoint_at(first - 1)
        return (0, GENESIS) if before is None else (before.position, before.hash)

    def _follow(self, position: int, digest: bytes) -> Report:
        report = Report()
        check = ChainCheck(report, None)
        check.begin(position + 1, digest)
        if position > 0:
            check.compare(position, self._anchors.hash_at(position) or b"", "what was attested")
        _, last = ends(self._sessions)
        for link in links(self._sessions, position, last):
            check.link(link)
        return report

    def _clock(self, newest: Checkpoint | None) -> tuple[str, bool]:
        """The database's time, and whether a checkpoint is due."""
        bounds = {"seconds": self._seconds, "newest": newest and newest.at}
        (now,) = execute(self._sessions, _CLOCK, bounds)
        return now.at, now.due

    def _signed(self, state: Checkpoint) -> Checkpoint:
        return state if self._key is None else self._key.sign(state)

    def _keep(self, newest: Checkpoint | None, state: Checkpoint | None) -> None:
        """Store the newest checkpoint, unless it is; make another where one is due."""
        if newest is not None and newest.position > self._stored:
            self._put(newest.key, newest)
            self._stored = newest.position
        if state is not None and state.position > (newest.position if newest else 0):
            made = self._signed(state)
            # First the row: only the newest one may ever be without an object.
            self._insert(made)
            self._put(made.key, made)
            self._stored = made.position

    def _insert(self, made: Checkpoint) -> None:
        values = {
            "position": made.position,
            "hash": made.hash,
            "at": made.at,
            "key_id": made.key_id,
            "signature": made.signature,
        }
        execute(self._sessions, insert(AuditCheckpointRow).values(values).on_conflict_do_nothing())

    def _put(self, key: str, checkpoint: Checkpoint) -> None:
        data = checkpoint.data
        self._storage.put(key, io.BytesIO(data), len(data), "application/json")
