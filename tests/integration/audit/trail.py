"""An audit trail to tamper with."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from typing import Any

from sqlalchemy import text

from shared import audit
from shared.audit.chain import GENESIS, link_hash
from shared.audit.checkpoint import Checkpoint
from shared.audit.findings import Report
from shared.audit.links import links
from shared.audit.notary import Notary
from shared.audit.seal import Sealer
from shared.audit.signing import PublicKeys, SigningKey
from shared.audit.verify import Expectations, verify
from shared.db.session import Sessions, execute
from shared.storage.s3 import S3Store

JOB = uuid.UUID(int=7)
REWRITE = "UPDATE audit_events SET actor = 'nobody' WHERE id = 6"
TABLES = ("audit_events", "audit_seals", "audit_checkpoints")


class Trail:
    """Writes, seals, attests, tampers and verifies, each when it is told to."""

    def __init__(self, sessions: Sessions, storage: S3Store) -> None:
        self.sessions, self.storage = sessions, storage
        self.key_text, self.key = SigningKey.generate()
        self.sealer = Sealer(sessions)
        self.notary = self.new_notary()

    def new_notary(self, key: SigningKey | str | None = "own") -> Notary:
        """A notary that makes a checkpoint each time, as of a process that has just started."""
        signer = self.key if isinstance(key, str) else key
        return Notary(self.sessions, self.storage, signer, checkpoint_seconds=0)

    def write(self, events: int) -> None:
        for number in range(events):
            with self.sessions.begin() as session:
                audit.record(session, "operator", "test.done", JOB, number=number, of="Müller")

    def checkpoint(self) -> None:
        self.sealer.seal()
        assert self.notary.attest()

    def tamper(self, *statements: str, **values: Any) -> None:
        """Do what a superuser can: no trigger keeps him from it."""
        with self.sessions.begin() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                session.execute(text(statement), values)

    def clear(self) -> None:
        """Leave no row; ids begin anew."""
        self.tamper(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")

    def rows(self, statement: str, **values: Any) -> list[Any]:
        return [tuple(row) for row in execute(self.sessions, text(statement), values)]

    def verify(
        self,
        *,
        public: str | None = "own",
        store: bool = True,
        kept: tuple[Checkpoint, ...] = (),
        unsealed_seconds: float = 60,
        uncovered_seconds: float = 900,
        keep: dt.timedelta | None = None,
    ) -> Report:
        keys = None if public is None else [self.key.public if public == "own" else public]
        expected = Expectations(
            keys=None if keys is None else PublicKeys(keys),
            kept=tuple(("a file", each) for each in kept),
            unsealed_seconds=unsealed_seconds,
            uncovered_seconds=uncovered_seconds,
            keep=keep,
        )
        return verify(self.sessions, self.storage if store else None, expected)


def problems(report: Report) -> list[tuple[str, int | None, int | None]]:
    """What was found: problem, position, event."""
    return [(str(each.problem), each.position, each.event_id) for each in report.findings]


class Kept:
    """A trail that can be put back as it was."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._rows = {
            table: trail.rows(f"SELECT CAST(jsonb_agg(each) AS text) FROM {table} AS each")[0][0]
            for table in TABLES
        }
        keys = [found.key for found in trail.storage.list("audit/", after="")]
        self._objects = {key: trail.storage.get(key) for key in keys}

    def put_back(self) -> None:
        values = {f"rows_of_{table}": rows for table, rows in self._rows.items()}
        self.trail.tamper(
            f"TRUNCATE {', '.join(TABLES)}",
            *(
                f"INSERT INTO {table} SELECT * FROM"
                f" jsonb_populate_recordset(CAST(NULL AS {table}), CAST(:rows_of_{table} AS jsonb))"
                for table in TABLES
            ),
            "SELECT setval('audit_events_id_seq', 12)",
            **values,
        )
        self._put_objects_back()
        self.trail.notary = self.trail.new_notary()

    def _put_objects_back(self) -> None:
        storage = self.trail.storage
        empty(storage)
        for key, data in self._objects.items():
            storage.put(key, io.BytesIO(data), len(data), "application/json")


def empty(storage: S3Store) -> None:
    """Remove what the object store has of audit trails."""
    for found in list(storage.list("audit/", after="")):
        storage.delete(found.key)


def rewrite(trail: Trail, statement: str) -> None:
    """Alter an event and compute the whole chain again."""
    trail.tamper(statement)
    previous = GENESIS
    for link in links(trail.sessions, 0, 12):
        assert link.event is not None
        previous = link_hash(previous, link.position, link.event)
        trail.tamper(
            "UPDATE audit_seals SET hash = :hash WHERE position = :position",
            "UPDATE audit_checkpoints SET hash = :hash WHERE position = :position",
            hash=previous,
            position=link.position,
        )
