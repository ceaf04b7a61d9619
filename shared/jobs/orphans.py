"""Removes objects that no job owns.

An upload that ends between the object store and the database leaves objects without a job. Keys
begin with the time of their job's id, so that a pass looks at what is new since the last pass.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from shared.clock import utc_now
from shared.db.models import JobRow
from shared.db.removal import removal
from shared.db.session import Sessions
from shared.errors import TransientError
from shared.jobs.ids import first_job_id
from shared.settings import Settings
from shared.storage import JOBS_PREFIX, ObjectStore, StoredObject, job_of_key

_log = logging.getLogger(__name__)
_BATCH = 500
_PASSES_A_GRACE = 4


def run_orphan_sweeps(
    settings: Settings, sessions: Sessions, storage: ObjectStore, stop: threading.Event
) -> None:
    """Sweep four times in each period of grace, until `stop` is set; the first pass sees it all."""
    grace = dt.timedelta(seconds=settings.orphan_grace_seconds)
    since: dt.datetime | None = None
    while not stop.is_set():
        until = utc_now() - grace
        try:
            removed = sweep_orphans(sessions, storage, since=since, until=until)
            # An object may be written as late as a grace after its id was made.
            since = until - 2 * grace
        except (TransientError, SQLAlchemyError) as error:
            removed = 0
            _log.warning("orphans are looked for later", extra={"error": type(error).__name__})
        except Exception:  # the thread must outlive whatever one pass meets
            removed = 0
            _log.exception("orphans are looked for later")
        if removed:
            _log.info("orphans removed", extra={"objects": removed})
        stop.wait(grace.total_seconds() / _PASSES_A_GRACE)


def sweep_orphans(
    sessions: Sessions, storage: ObjectStore, *, since: dt.datetime | None, until: dt.datetime
) -> int:
    """Remove the objects without a job whose ids were made in [since, until).

    Args:
        sessions: The database.
        storage: The object store.
        since: From where on there may be objects that no pass has seen; None looks at everything.
        until: Now less the grace, which must be longer than any upload takes.

    Returns:
        How many were removed.

    Raises:
        StorageUnavailableError: The store does not answer.
        BackupRunsError: A backup may need them.
    """
    after = f"{JOBS_PREFIX}{first_job_id(since)}" if since else JOBS_PREFIX
    bound = f"{JOBS_PREFIX}{first_job_id(until)}"
    aged = itertools.takewhile(
        lambda found: found.key < bound, storage.list(JOBS_PREFIX, after=after)
    )
    removed = 0
    for batch in _batched(found for found in aged if found.written_at < until):
        owners = {job_id for found in batch if (job_id := job_of_key(found.key))}
        orphans = owners - _known_jobs(sessions, owners)
        for found in batch:
            if job_of_key(found.key) not in orphans:
                continue
            # A job that was removed since a backup's snapshot is still in that backup.
            with removal(sessions):
                storage.delete(found.key)
            removed += 1
    return removed


def _known_jobs(sessions: Sessions, job_ids: set[uuid.UUID]) -> set[uuid.UUID]:
    with sessions() as session:
        return set(session.scalars(select(JobRow.id).where(JobRow.id.in_(job_ids))))


def _batched(objects: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    iterator = iter(objects)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
