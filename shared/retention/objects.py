"""Objects that nobody owns any more, removed from the store.

Their keys are rows, written in the transaction that gave them up, as messages are in the outbox.
So the rows of a job go before its objects: what is half removed can be read by nobody, and whoever
is killed between both leaves keys that the next pass finds.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable

from sqlalchemy import ARRAY, DateTime, Interval, Text, bindparam, text
from sqlalchemy.orm import Session

from shared.db.removal import BackupRunsError, removal
from shared.db.session import Sessions, execute
from shared.storage import TRAINING_IMAGES_PREFIX, ObjectStore

_log = logging.getLogger(__name__)
_BATCH = 200
_MOMENT = DateTime(timezone=True)

_GIVE_UP = text(
    """
    INSERT INTO object_removals (key, again_at)
    SELECT key, clock_timestamp() + :again_after FROM unnest(:keys) AS key
    ON CONFLICT (key) DO UPDATE SET due_at = EXCLUDED.due_at, again_at = EXCLUDED.again_at
    """
).bindparams(bindparam("keys", type_=ARRAY(Text)), bindparam("again_after", type_=Interval))

# What another version has by now, or what was explained once more, is in use again: such keys are
# made of their content.
_DUE = text(
    """
    SELECT key, due_at, CASE
        WHEN starts_with(key, :images) THEN EXISTS (
            SELECT FROM datasets AS d, json_array_elements(d.record -> 'images') AS image
            WHERE d.withdrawn_at IS NULL AND key = :images || (image ->> 'sha256')
        )
        WHEN key LIKE 'jobs/%/explanations/%' THEN EXISTS (
            SELECT FROM explanations AS e WHERE e.job_id = CAST(split_part(key, '/', 2) AS uuid)
                AND key = format('jobs/%s/explanations/%s/%s-%s.png',
                    e.job_id, e.image_index, e.method, left(e.png_sha256, 16))
        )
        ELSE false
    END AS is_used
    FROM object_removals WHERE due_at <= statement_timestamp()
    ORDER BY due_at, key LIMIT :limit
    """
)
_SEEN = (bindparam("keys", type_=ARRAY(Text)), bindparam("due_at", type_=ARRAY(_MOMENT)))
# As they were read: of two processes that have the same row, the slower one must not take the
# second look of the other for its own first.
_DONE = text(
    """
    DELETE FROM object_removals AS r
    USING unnest(CAST(:keys AS text[]), CAST(:due_at AS timestamptz[])) AS seen(key, due_at)
    WHERE r.key = seen.key AND r.due_at = seen.due_at AND r.again_at IS NULL
    """
).bindparams(*_SEEN)
_AGAIN = text(
    """
    UPDATE object_removals AS r SET due_at = r.again_at, again_at = NULL
    FROM unnest(CAST(:keys AS text[]), CAST(:due_at AS timestamptz[])) AS seen(key, due_at)
    WHERE r.key = seen.key AND r.due_at = seen.due_at AND r.again_at IS NOT NULL
    """
).bindparams(*_SEEN)


def give_up(session: Session, keys: Iterable[str], *, again_after: dt.timedelta | None) -> None:
    """Have objects removed once the transaction has committed.

    Args:
        session: The open transaction.
        keys: Of objects; one that ends with `/` stands for all under it.
        again_after: When to look again, for what a process that lost its claim stores late; None:
            nobody writes there.
    """
    session.execute(_GIVE_UP, {"keys": sorted(keys), "again_after": again_after})


def remove_due(
    sessions: Sessions, storage: ObjectStore, *, turned: Callable[[], object] = lambda: None
) -> int:
    """Remove all that is due; any number of processes may do so at once.

    While a backup is made it is left for a later call: the backup may have the rows of before.

    Args:
        sessions: The database.
        storage: The object store.
        turned: Called between batches.

    Returns:
        How many keys were looked after.

    Raises:
        StorageUnavailableError: The store does not answer; what is left is due still.
    """
    looked_after = 0
    while True:
        values = {"images": TRAINING_IMAGES_PREFIX, "limit": _BATCH}
        rows = execute(sessions, _DUE, values)
        try:
            for row in rows:
                if not row.is_used:
                    with removal(sessions):
                        _remove(storage, row.key)
        except BackupRunsError:
            _log.debug("objects are removed once the backup is made")
            return looked_after
        seen = {"keys": [row.key for row in rows], "due_at": [row.due_at for row in rows]}
        # In this order: what is due again must not be taken for done.
        for statement in (_DONE, _AGAIN):
            execute(sessions, statement, seen)
        looked_after += len(rows)
        turned()
        if len(rows) < _BATCH:
            return looked_after


def _remove(storage: ObjectStore, key: str) -> None:
    if not key.endswith("/"):
        storage.delete(key)
        return
    for found in list(storage.list(key, after=key)):
        storage.delete(found.key)
