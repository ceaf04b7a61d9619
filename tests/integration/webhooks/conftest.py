"""A receiver, settings that allow it, and jobs that end."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from shared.db.models import JobRow, WebhookRow
from shared.db.session import Sessions
from shared.jobs.ending import tell_end
from shared.settings import Settings
from tests.integration.webhooks.events import (
    PATIENT,
    RETRY_SECONDS,
    receiving,
)
from tests.receiver import SECRET, Receiver


@pytest.fixture
def calling(settings: Settings) -> Settings:
    """Settings that allow this machine as a receiver, with delays that no test waits for."""
    return settings.model_copy(
        update={
            "webhook_allowed_hosts": "127.0.0.1",
            "webhook_secret": SecretStr(SECRET),
            "webhook_retry_seconds": RETRY_SECONDS,
            "relay_interval_seconds": 0.05,
        }
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def end(sessions: Sessions, key_id: str) -> Callable[..., uuid.UUID]:
    """Ends a job whose client wants to be told; gives the id of the event."""

    def ended(url: str, status: str = "succeeded", code: str | None = None) -> uuid.UUID:
        job = JobRow(
            id=uuid.uuid4(),
            api_key_id=key_id,
            request_sha256="0" * 64,
            status=status,
            priority="routine",
            model_name="cnn_custom",
            model_version=1,
            callback_url=url,
            finished_at=dt.datetime.now(dt.UTC),
            error_code=code,
            **PATIENT,
        )
        with sessions.begin() as session:
            session.add(job)
            session.flush()
            tell_end(session, job, "test")
        with sessions() as session:
            return session.scalars(select(WebhookRow.id).where(WebhookRow.job_id == job.id)).one()

    return ended
