"""Objects are removed only while no backup reads them.

A backup knows by its snapshot of the database which objects it needs, and copies them afterwards.
What is removed in between would be missing in it. So whoever removes objects that rows name, or
rows that name objects, holds one lock meanwhile, which many may hold; a backup waits for all of
them and then keeps them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select

from shared.db.session import Sessions
from shared.errors import TransientError

REMOVAL_LOCK = 727402


class BackupRunsError(TransientError):
    """A backup is being made, and needs the objects that were to be removed."""

    code = "backup_runs"


@contextmanager
def removal(sessions: Sessions) -> Iterator[None]:
    """Hold backups off for the length of a block; keep it short, for a transaction is open.

    Raises:
        BackupRunsError: A backup needs the objects; come back later.
    """
    with sessions.begin() as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock_shared(REMOVAL_LOCK))):
            raise BackupRunsError
        yield
