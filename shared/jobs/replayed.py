"""Notes that an operator had a past job run again. The job and its result stay as they are."""

from __future__ import annotations

import uuid
from typing import Any

from shared import audit
from shared.db.session import Sessions

_OPERATOR = "operator"


def record_replay(sessions: Sessions, job_id: uuid.UUID, **details: Any) -> None:
    """Add the event `job.replayed` to the trail of a job.

    Args:
        sessions: The database.
        job_id: The job.
        details: What came of it: codes and counts alone.
    """
    with sessions.begin() as session:
        audit.record(session, _OPERATOR, "job.replayed", job_id, **details)
