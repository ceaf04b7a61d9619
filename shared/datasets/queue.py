"""The queue of imports, a row each in PostgreSQL: here one is asked for.

`claim.py` has what a trainer does with it. As with explanations, no broker takes part.
"""

from __future__ import annotations

import uuid

from shared import audit
from shared.datasets.queries import get_dataset, get_trainable
from shared.datasets.states import DatasetNotReadyError, DatasetSource, DatasetStatus
from shared.db.models import DatasetRow
from shared.db.session import Sessions
from shared.reviews.newest import last_review


def request_upload(
    sessions: Sessions,
    dataset_id: uuid.UUID,
    *,
    name: str | None,
    locked: bool,
    sha256: str,
    length: int,
    actor: str,
) -> None:
    """Ask for the import of a zip that is in the object store under `upload_key(dataset_id)`.

    Args:
        sessions: The database.
        dataset_id: A new id.
        name: For people.
        locked: Whether it is a test set that nothing may be trained on.
        sha256: Of the zip.
        length: Bytes of the zip.
        actor: Who asks, as in `audit.record`.
    """
    row = DatasetRow(
        id=dataset_id,
        name=name,
        source=DatasetSource.UPLOAD,
        locked=locked,
        upload_sha256=sha256,
        upload_bytes=length,
    )
    _add(sessions, row, actor)


def request_reviews(
    sessions: Sessions,
    *,
    since: uuid.UUID | None,
    base: uuid.UUID | None,
    name: str | None,
    tenant: str,
    actor: str,
) -> uuid.UUID:
    """Ask for a data set of reviewed images.

    Args:
        sessions: The database.
        since: Reviews count from the moment on at which this data set was asked for; None: all.
        base: A version whose images it has too.
        name: For people.
        tenant: Whose cases; those of another one come in by a base.
        actor: Who asks, as in `audit.record`.

    Returns:
        Its id.

    Raises:
        NotFoundError: There is no data set `since` or `base`.
        DatasetNotReadyError: One of them is no version.
        DatasetLockedError: The base is a locked test set.
    """
    if since is not None and get_dataset(sessions, since).status is not DatasetStatus.READY:
        raise DatasetNotReadyError(f"The data set {since}.")
    if base is not None:
        get_trainable(sessions, base)
    row = DatasetRow(
        id=uuid.uuid4(),
        name=name,
        source=DatasetSource.REVIEWS,
        locked=False,
        base_id=base,
        reviews_since_id=since,
        tenant=tenant,
    )
    _add(sessions, row, actor)
    return row.id


def _add(sessions: Sessions, row: DatasetRow, actor: str) -> None:
    details = {"dataset_id": str(row.id), "source": row.source, "locked": row.locked}
    with sessions.begin() as session:
        audit.record(session, actor, "dataset.requested", None, **details)
        row.reviews_until = last_review(session)
        session.add(row)
