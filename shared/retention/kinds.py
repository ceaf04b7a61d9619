"""What of each kind of data is due, and how it is removed.

Each is found in the order of its ids, a page at a time, with whether a legal hold covers it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Text, Uuid, bindparam, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import TextClause

from shared.retention.holds import JOB_IS_HELD, ORDER_IS_HELD
from shared.retention.jobs import remove_jobs
from shared.retention.objects import give_up
from shared.retention.policy import Kind
from shared.storage import explanation_key, upload_key

Remove = Callable[[Session, Sequence[Any], dt.datetime, dt.timedelta], object]
"""Removes what has some ids and ended before a moment; the last is when to look for objects that
were written late."""

_NO_ID = uuid.UUID(int=0)


@dataclass(frozen=True)
class Purging:
    """How one kind of data is purged.

    Attributes:
        find: Gives `id` and `held` of what is due, for `:before`, `:after` and `:limit`.
        remove: Removes some of it.
        of_jobs: Whether the ids are those of jobs.
        first: A value below all ids.
    """

    find: TextClause
    remove: Remove
    of_jobs: bool = False
    first: Any = _NO_ID


def _finding(sql: str, kind: Any = Uuid) -> TextClause:
    return text(f"{sql} LIMIT :limit").bindparams(
        bindparam("after", type_=kind), bindparam("before", type_=DateTime(timezone=True))
    )


def _of_jobs(found: str, condition: str) -> TextClause:
    """Finds jobs by what belongs to them."""
    return _finding(
        f"SELECT DISTINCT j.id, {JOB_IS_HELD} AS held FROM {found} "  # noqa: S608 - of constants
        f"WHERE j.id > :after AND {condition} ORDER BY j.id"
    )


def _whole_jobs(statuses: str) -> TextClause:
    """Finds jobs that have ended; nobody queues one again meanwhile."""
    return _finding(
        f"SELECT j.id, {JOB_IS_HELD} AS held FROM jobs AS j "  # noqa: S608 - of constants
        f"WHERE j.id > :after AND j.status IN ({statuses}) AND j.finished_at < :before "
        "ORDER BY j.id FOR UPDATE OF j SKIP LOCKED"
    )


def _simply(sql: str, kind: Any = Uuid) -> Remove:
    """Removes by one statement for `:ids` and `:before`."""
    statement = text(sql).bindparams(bindparam("ids", type_=ARRAY(kind)))
    has_moment = ":before" in sql

    def remove(
        session: Session, ids: Sequence[Any], before: dt.datetime, again_after: dt.timedelta
    ) -> None:
        del again_after
        session.execute(statement, {"ids": ids, **({"before": before} if has_moment else {})})

    return remove


# An operator may have queued one of them again since it was found: then it needs its images.
_PURGE_IMAGES = text(
    """
    WITH ended AS (
        SELECT id FROM jobs WHERE id = ANY(:ids) AND finished_at < :before
        ORDER BY id FOR UPDATE
    )
    UPDATE job_images AS i SET purged_at = clock_timestamp() FROM ended
    WHERE i.job_id = ended.id AND i.purged_at IS NULL RETURNING i.object_key
    """
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))

_PURGE_EXPLANATIONS = text(
    """
    DELETE FROM explanations WHERE job_id = ANY(:ids) AND finished_at < :before
    RETURNING job_id, image_index, method, png_sha256
    """
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


def _remove_images(
    session: Session, ids: Sequence[Any], before: dt.datetime, again_after: dt.timedelta
) -> None:
    del again_after
    keys = list(session.scalars(_PURGE_IMAGES, {"ids": ids, "before": before}))
    give_up(session, keys, again_after=None)


def _remove_explanations(
    session: Session, ids: Sequence[Any], before: dt.datetime, again_after: dt.timedelta
) -> None:
    del again_after
    gone = session.execute(_PURGE_EXPLANATIONS, {"ids": ids, "before": before})
    keys = [explanation_key(*row) for row in gone if row.png_sha256 is not None]
    give_up(session, keys, again_after=None)


def _remove_whole_jobs(
    session: Session, ids: Sequence[Any], before: dt.datetime, again_after: dt.timedelta
) -> None:
    del before
    remove_jobs(session, ids, why="purged", again_after=again_after)


def _remove_imports(
    session: Session, ids: Sequence[Any], before: dt.datetime, again_after: dt.timedelta
) -> None:
    _simply("DELETE FROM datasets WHERE id = ANY(:ids)")(session, ids, before, again_after)
    give_up(session, map(upload_key, ids), again_after=None)


_UNUSED_KEYS = """
    SELECT k.id, false AS held FROM api_keys AS k
    WHERE k.id > :after AND LEAST(k.revoked_at, k.expires_at) < :before
        -- Whoever signs in elsewhere is shut out by the row alone.
        AND k.issuer IS NULL
        AND NOT EXISTS (SELECT FROM jobs WHERE api_key_id = k.id)
        AND NOT EXISTS (SELECT FROM orders WHERE api_key_id = k.id OR performer = k.id)
        AND NOT EXISTS (SELECT FROM reviews WHERE api_key_id = k.id)
        AND NOT EXISTS (SELECT FROM results WHERE held_by = k.id)
        AND NOT EXISTS (SELECT FROM api_keys AS s WHERE s.successor_of = k.id)
    ORDER BY k.id
"""

PURGINGS: dict[Kind, Purging] = {
    Kind.WEBHOOKS: Purging(
        _finding(
            f"SELECT w.id, {JOB_IS_HELD} AS held "  # noqa: S608 - of constants
            "FROM webhooks AS w JOIN jobs AS j ON j.id = w.job_id WHERE w.id > :after "
            "AND w.next_attempt_at IS NULL AND w.created_at < :before ORDER BY w.id"
        ),
        # Not what an operator has sent again since.
        _simply("DELETE FROM webhooks WHERE id = ANY(:ids) AND next_attempt_at IS NULL"),
    ),
    Kind.SHADOW_RESULTS: Purging(
        _of_jobs("shadow_results AS s JOIN jobs AS j ON j.id = s.job_id", "s.created_at < :before"),
        _simply("DELETE FROM shadow_results WHERE job_id = ANY(:ids) AND created_at < :before"),
        of_jobs=True,
    ),
    Kind.REVIEW_COMMENTS: Purging(
        _of_jobs(
            "reviews AS r JOIN jobs AS j ON j.id = r.job_id",
            "r.comment IS NOT NULL AND r.at < :before",
        ),
        _simply("UPDATE reviews SET comment = NULL WHERE job_id = ANY(:ids) AND at < :before"),
        of_jobs=True,
    ),
    Kind.EXPLANATIONS: Purging(
        _of_jobs("explanations AS e JOIN jobs AS j ON j.id = e.job_id", "e.finished_at < :before"),
        _remove_explanations,
        of_jobs=True,
    ),
    Kind.IMAGES: Purging(
        _of_jobs(
            "job_images AS i JOIN jobs AS j ON j.id = i.job_id",
            "i.purged_at IS NULL AND j.finished_at < :before",
        ),
        _remove_images,
        of_jobs=True,
    ),
    Kind.JOBS: Purging(_whole_jobs("'succeeded'"), _remove_whole_jobs, of_jobs=True),
    Kind.UNSUCCESSFUL_JOBS: Purging(
        _whole_jobs("'failed', 'dead', 'cancelled'"), _remove_whole_jobs, of_jobs=True
    ),
    Kind.ORDERS: Purging(
        _finding(
            f"SELECT o.id, {ORDER_IS_HELD} AS held FROM orders AS o "  # noqa: S608 - of constants
            "WHERE o.id > :after AND GREATEST(o.updated_at, o.scheduled_at) < :before "
            "AND NOT EXISTS (SELECT FROM jobs AS j "
            "WHERE j.tenant = o.tenant AND j.accession_number = o.accession_number) "
            "ORDER BY o.id FOR UPDATE OF o SKIP LOCKED"
        ),
        _simply("DELETE FROM orders WHERE id = ANY(:ids)"),
    ),
    Kind.FAILED_IMPORTS: Purging(
        _finding(
            "SELECT id, false AS held FROM datasets "
            "WHERE id > :after AND status = 'failed' AND finished_at < :before ORDER BY id"
        ),
        _remove_imports,
    ),
    Kind.TRAINING_EVENTS: Purging(
        _finding(
            "SELECT r.id, false AS held FROM training_runs AS r "
            "WHERE r.id > :after AND r.finished_at < :before "
            "AND EXISTS (SELECT FROM training_events AS e WHERE e.run_id = r.id) ORDER BY r.id"
        ),
        _simply("DELETE FROM training_events WHERE run_id = ANY(:ids)"),
    ),
    Kind.MONITORING: Purging(
        _finding(
            "SELECT id, false AS held FROM drift_windows "
            "WHERE id > :after AND window_to < :before ORDER BY id",
            BigInteger,
        ),
        _simply("DELETE FROM drift_windows WHERE id = ANY(:ids)", BigInteger),
        first=0,
    ),
    Kind.ENDED_SESSIONS: Purging(
        _finding(
            "SELECT id, false AS held FROM ended_sessions "
            "WHERE id > :after AND until < :before ORDER BY id"
        ),
        _simply("DELETE FROM ended_sessions WHERE id = ANY(:ids)"),
    ),
    Kind.KEYS: Purging(
        _finding(_UNUSED_KEYS, Text),
        _simply("DELETE FROM api_keys WHERE id = ANY(:ids)", Text),
        first="",
    ),
}
"""All kinds but the audit trail, which is a chain and is pruned as one."""
