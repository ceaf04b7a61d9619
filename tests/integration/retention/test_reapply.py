"""After a restore from a backup, what was erased since is erased again."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import Base
from shared.db.session import Sessions
from shared.jobs.queries import get_job
from shared.retention import holds
from shared.retention.erase import carry_out, carry_out_all
from shared.retention.erasures import ErasureStatus, get_erasure, request_erasure
from shared.retention.holds import HoldKind
from shared.retention.ledger import Entry, LedgerInvalidError, read_ledger, write_entry
from shared.retention.objects import remove_due
from shared.retention.reapply import reapply
from shared.retention.removed import JobErasedError
from shared.storage import ERASURES_PREFIX, image_key
from shared.storage.s3 import S3Store
from tests.integration.retention.conftest import NO_TIME, SECRET, Erase, Purging
from tests.integration.retention.patients import (
    Patient,
    a_patient,
    hold_on,
    objects_of,
    tables_that_tell,
)


class Backup:
    """A copy of all tables, and of nothing in the store."""

    def __init__(self, database: Engine, sessions: Sessions, storage: S3Store) -> None:
        self._database, self._sessions, self._storage = database, sessions, storage
        with database.begin() as connection:
            connection.execute(text("CREATE SCHEMA backup"))
            for table in Base.metadata.sorted_tables:
                copy = f"CREATE TABLE backup.{table.name} AS TABLE {table.name}"
                connection.execute(text(copy))

    def restore(self) -> None:
        names = [table.name for table in Base.metadata.sorted_tables]
        with self._database.begin() as connection:
            # The audit trail is append-only for whoever does not say so.
            connection.execute(text("SET LOCAL hemotriage.audit_prune = 'on'"))
            connection.execute(text(f"TRUNCATE {', '.join(names)} CASCADE"))
            for table in Base.metadata.sorted_tables:
                columns = ", ".join(f'"{c.name}"' for c in table.columns if c.computed is None)
                back = (
                    f"INSERT INTO {table.name} ({columns}) OVERRIDING SYSTEM VALUE "
                    f"SELECT {columns} FROM backup.{table.name}"
                )
                connection.execute(text(back))
            connection.execute(text("DROP SCHEMA backup CASCADE"))

    def reapply(self, *lines: str, secret: SecretStr | None = None) -> dict[str, int]:
        entries = read_ledger(self._sessions, self._storage, lines)
        done = reapply(self._sessions, self._storage, entries, secret=secret, again_after=NO_TIME)
        return done.counts

    def has_lost(self, gone: Patient) -> bool:
        with pytest.raises(JobErasedError):
            get_job(self._sessions, gone.job_id, tenant=DEFAULT_TENANT)
        return not any(tables_that_tell(self._database, word) for word in gone.words)


@pytest.fixture
def gone(sessions: Sessions, storage: S3Store, key_id: str) -> Patient:
    """A patient who is erased after the backup."""
    return a_patient(sessions, storage, key_id)


@pytest.fixture
def backup(
    database: Engine, sessions: Sessions, storage: S3Store, gone: Patient
) -> Iterator[Backup]:
    """What was made when the patient was still there."""
    empty_ledger(storage)
    yield Backup(database, sessions, storage)
    empty_ledger(storage)
    with database.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS backup CASCADE"))


def empty_ledger(storage: S3Store) -> None:
    for found in list(storage.list(ERASURES_PREFIX, after=ERASURES_PREFIX)):
        storage.delete(found.key)


def test_an_erasure_outlives_a_restore_of_the_database(
    sessions: Sessions, gone: Patient, erase: Erase, backup: Backup
) -> None:
    erase(gone.ref)
    backup.restore()
    assert get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).patient_ref == gone.ref
    counts = backup.reapply()
    assert counts["jobs"] == counts["orders"] == 1
    assert backup.has_lost(gone)
    assert backup.reapply() == {}


def test_where_the_store_was_restored_too_a_copy_of_the_ledger_does(
    sessions: Sessions, storage: S3Store, gone: Patient, erase: Erase, backup: Backup
) -> None:
    erase(gone.ref)
    copy = [entry.model_dump_json() for entry in read_ledger(sessions, storage)]
    assert not any(word in line for line in copy for word in gone.words)
    backup.restore()
    empty_ledger(storage)
    assert backup.reapply() == {}
    assert backup.reapply(*copy, "\n")["jobs"] == 1
    assert backup.has_lost(gone)


def test_an_erasure_outlives_a_restore_of_the_store_alone(
    sessions: Sessions, storage: S3Store, gone: Patient, erase: Erase, backup: Backup
) -> None:
    erase(gone.ref)
    remove_due(sessions, storage)
    storage.put(image_key(gone.job_id, 0), io.BytesIO(b"png"), 3, "image/png")
    assert backup.reapply() == {}
    assert objects_of(storage, gone.job_id) == []


def test_what_was_purged_before_the_erasure_is_found_by_its_patient(
    gone: Patient, erase: Erase, purge: Purging, backup: Backup
) -> None:
    purge(jobs="0 days")
    assert "jobs" not in erase(gone.ref).counts
    backup.restore()
    assert backup.reapply(secret=SECRET)["jobs"] == 1
    assert backup.has_lost(gone)


@pytest.mark.parametrize("kind", [HoldKind.PATIENT_REF, HoldKind.ACCESSION_NUMBER])
def test_a_hold_that_was_released_since_the_backup_comes_back_without_its_name(
    database: Engine,
    sessions: Sessions,
    storage: S3Store,
    gone: Patient,
    erase: Erase,
    *,
    kind: HoldKind,
) -> None:
    empty_ledger(storage)
    placed = hold_on(sessions, gone, kind)
    backup = Backup(database, sessions, storage)
    holds.release(sessions, placed.id, actor="operator")
    erase(gone.ref)
    backup.restore()
    later = hold_on(sessions, gone, kind)
    assert backup.reapply(secret=SECRET)["jobs"] == 1
    assert [hold.id for hold in holds.list_holds(sessions)] == [later.id]
    again = holds.get_hold(sessions, placed.id)
    assert (again.value, again.released_by) == ("", "operator")
    empty_ledger(storage)


def test_an_erasure_that_waited_in_the_backup_is_done_and_its_entry_stays_whole(
    database: Engine, sessions: Sessions, storage: S3Store, gone: Patient
) -> None:
    empty_ledger(storage)
    asked = request_erasure(
        sessions, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    backup = Backup(database, sessions, storage)
    carry_out(sessions, storage, asked.id, again_after=NO_TIME)
    backup.restore()
    assert get_erasure(sessions, asked.id).status is ErasureStatus.QUEUED
    assert backup.reapply()["jobs"] == 1
    assert backup.has_lost(gone)
    assert carry_out_all(sessions, storage, again_after=NO_TIME) == 0
    (entry,) = read_ledger(sessions, storage)
    assert (entry.id, entry.job_ids) == (asked.id, (gone.job_id,))
    empty_ledger(storage)


def test_what_was_refused_is_in_no_ledger_though_its_entry_was_written(
    sessions: Sessions, storage: S3Store, gone: Patient, backup: Backup
) -> None:
    """An attempt writes the entry, loses its commit, and a hold comes before the next attempt."""
    asked = request_erasure(
        sessions, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    entry = Entry.of(asked).model_copy(update={"job_ids": (gone.job_id,)})
    write_entry(storage, entry)
    hold_on(sessions, gone, HoldKind.JOB)
    carry_out(sessions, storage, asked.id, again_after=NO_TIME)
    assert list(storage.list(ERASURES_PREFIX, after=ERASURES_PREFIX)) == []
    assert backup.reapply(entry.model_dump_json()) == {}
    assert get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).result is not None


def test_a_ledger_that_is_none_is_refused(sessions: Sessions, storage: S3Store) -> None:
    with pytest.raises(LedgerInvalidError):
        read_ledger(sessions, storage, ["{}"])
