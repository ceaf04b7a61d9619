"""Jobs whose results are pushed, and how tests move them on."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import Text, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.models import DicomSourceRow, JobRow, WebhookRow
from shared.db.session import Sessions
from shared.interop.push import Pushes
from shared.jobs.ending import told
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.webhooks.deliver import deliver, take_due
from shared.webhooks.hosts import AllowedHosts
from tests.integration.jobs import finish, post, take
from tests.integration.webhooks.events import PATIENT, read

NO_HOST = AllowedHosts.parse("")
STUDY, SERIES, INSTANCE = "1.2.826.0.1.1", "1.2.826.0.1.1.1", "1.2.826.0.1.1.1.1"
VL_MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2"

Succeed = Callable[..., uuid.UUID]


def succeed(
    sessions: Sessions, storage: S3Store, key_id: str, *urls: str, is_dicom: bool = False
) -> uuid.UUID:
    """End a job with a result that is pushed to these URLs; gives its id."""
    job = post(sessions, storage, key_id, **PATIENT).job
    if is_dicom:
        source = DicomSourceRow(
            job_id=job.id,
            index=0,
            study_uid=STUDY,
            series_uid=SERIES,
            instance_uid=INSTANCE,
            sop_class_uid=VL_MICROSCOPIC,
            frame=1,
        )
        with sessions.begin() as session:
            session.add(source)
    held = take(sessions, job)
    assert held is not None
    assert finish(sessions, held)
    end(sessions, job.id, urls)
    return job.id


def end(sessions: Sessions, job_id: uuid.UUID, urls: tuple[str, ...]) -> None:
    """Tell of the end that a job has come to."""
    ended = (
        select(
            JobRow.id.label("job_id"),
            JobRow.status,
            JobRow.callback_url,
            literal("test").label("actor"),
            literal({}, JSONB).label("details"),
        )
        .where(JobRow.id == job_id)
        .cte("ended")
    )
    with sessions.begin() as session:
        pushed_to = literal(list(urls), ARRAY(Text))
        session.execute(select(ended.c.job_id).add_cte(*told(ended, pushed_to)))


def with_destinations(settings: Settings, *urls: str) -> Settings:
    limits = {"connect_timeout_seconds": 2.0, "answer_timeout_seconds": 2.0}
    return settings.model_copy(
        update={"result_destinations": ",".join(urls), "webhook_retry_seconds": 100.0, **limits}
    )


def attempt(sessions: Sessions, settings: Settings, *urls: str) -> WebhookRow:
    """Make the attempt that is due; gives the event after it."""
    chosen = with_destinations(settings, *urls)
    delivery = take_due(sessions, chosen)
    assert delivery is not None
    deliver(sessions, chosen, NO_HOST, delivery, Pushes(chosen, sessions))
    return read(sessions, delivery.event_id)
