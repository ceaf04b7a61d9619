"""Removes what the policy no longer keeps: one pass over all kinds, in bounded batches.

Each batch is a transaction with its audit event and its figures. Whoever is killed has done whole
batches, and the next pass goes on with what is left.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared import audit
from shared.audit.prune import prune
from shared.db.models import PurgeRow
from shared.db.session import Sessions
from shared.retention.held_events import first_held_event
from shared.retention.holds import alone
from shared.retention.kinds import PURGINGS
from shared.retention.objects import remove_due
from shared.retention.policy import Kind, RetentionPolicy, Rule
from shared.storage import ObjectStore

ACTOR = "service:retention"

_BATCH = 200


@dataclass(frozen=True)
class Purged:
    """What a pass found of a kind; of a dry one, `removed` is what it would have removed."""

    kind: Kind
    rule: Rule
    due: int = 0
    removed: int = 0
    held: int = 0


class Purge:
    """A pass over all kinds."""

    def __init__(
        self,
        sessions: Sessions,
        storage: ObjectStore,
        *,
        again_after: dt.timedelta,
        actor: str = ACTOR,
        batch: int = _BATCH,
        turned: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare a pass.

        Args:
            sessions: The database.
            storage: The object store.
            again_after: When to look once more for objects of removed jobs; longer than any upload
                or explanation takes.
            actor: Who purges, as in `audit.record`.
            batch: The most that one transaction removes.
            turned: Called after each batch; what it raises ends the pass.
        """
        self._sessions = sessions
        self._storage = storage
        self._again_after = again_after
        self._actor = actor
        self._batch = batch
        self._turned = turned
        self._run_id = uuid.uuid4()

    def __call__(self, policy: RetentionPolicy, *, dry_run: bool = False) -> list[Purged]:
        """Purge all that is due now, and what objects an earlier pass left; or only count it.

        Raises:
            StorageUnavailableError: The store does not answer. What has become nobody's stays to be
                removed by the next pass.
        """
        with self._sessions() as session:
            now = session.scalars(select(func.clock_timestamp())).one()
        if not dry_run:
            remove_due(self._sessions, self._storage, turned=self._turned)
        return [self._purge(kind, policy.rules[kind], now, dry_run=dry_run) for kind in Kind]

    def _purge(self, kind: Kind, rule: Rule, now: dt.datetime, *, dry_run: bool) -> Purged:
        if rule.keep is None:
            return Purged(kind, rule)
        before = now - rule.keep
        if kind is Kind.AUDIT:
            return self._prune(rule, before, dry_run=dry_run)
        due = held = 0
        after = PURGINGS[kind].first
        while True:
            rows = self._one_batch(kind, before, after, dry_run=dry_run)
            due += len(rows)
            held += sum(row.held for row in rows)
            self._turned()
            if len(rows) < self._batch:
                return Purged(kind, rule, due, due - held, held)
            after = rows[-1].id

    def _one_batch(
        self, kind: Kind, before: dt.datetime, after: object, *, dry_run: bool
    ) -> list[Any]:
        """Remove the next that is due and is not held; its rows as they were found."""
        purging = PURGINGS[kind]
        values = {"before": before, "after": after, "limit": self._batch}
        with self._sessions.begin() as session:
            alone(session)
            rows = list(session.execute(purging.find, values))
            ids = [row.id for row in rows if not row.held]
            if ids and not dry_run:
                purging.remove(session, ids, before, self._again_after)
                jobs = {"jobs": [str(one) for one in ids]} if purging.of_jobs else {}
                self._tell(session, kind, before, len(ids), **jobs)
        if ids and not dry_run:
            remove_due(self._sessions, self._storage, turned=self._turned)
        return rows

    def _prune(self, rule: Rule, before: dt.datetime, *, dry_run: bool) -> Purged:
        """The audit trail, a chain: what a dry run would remove of it is not counted."""
        if dry_run:
            return Purged(Kind.AUDIT, rule)
        pruned = prune(self._sessions, before, first_held=first_held_event)
        if pruned.removed:
            with self._sessions.begin() as session:
                self._tell(session, Kind.AUDIT, before, pruned.removed)
        due = pruned.removed + pruned.held
        return Purged(Kind.AUDIT, rule, due, pruned.removed, pruned.held)

    def _tell(
        self, session: Session, kind: Kind, before: dt.datetime, removed: int, **jobs: object
    ) -> None:
        told = {"run": str(self._run_id), "kind": kind, "before": before.isoformat()}
        audit.record(
            session, self._actor, "retention.purged", None, **told, removed=removed, **jobs
        )
        row = insert(PurgeRow).values(
            run_id=self._run_id, kind=kind, before=before, removed=removed
        )
        session.execute(
            row.on_conflict_do_update(
                index_elements=["run_id", "kind"],
                set_={
                    "removed": PurgeRow.removed + row.excluded.removed,
                    "at": func.clock_timestamp(),
                },
            )
        )
