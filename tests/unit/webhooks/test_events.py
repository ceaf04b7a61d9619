"""What a webhook says."""

from __future__ import annotations

import datetime as dt
import json
import uuid

from shared.db.models import WebhookRow
from shared.webhooks.events import payload


def row(event: str) -> WebhookRow:
    at = dt.datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    return WebhookRow(
        id=uuid.UUID(int=1), job_id=uuid.UUID(int=2), event=event, url="", created_at=at
    )


def test_an_event_tells_ids_the_state_and_links() -> None:
    job = "/v1/jobs/00000000-0000-0000-0000-000000000002"
    assert json.loads(payload(row("job.succeeded"), None)) == {
        "type": "job.succeeded",
        "timestamp": "2026-03-01T10:00:00.000005Z",
        "data": {
            "job_id": "00000000-0000-0000-0000-000000000002",
            "status": "succeeded",
            "links": {"self": job, "result": f"{job}/result"},
            "error": None,
        },
    }
    failed = json.loads(payload(row("job.failed"), "corrupt_image"))
    assert failed["data"]["error"] == {"code": "corrupt_image"}
    assert failed["data"]["links"]["result"] is None
    assert payload(row("job.dead"), "expired") == payload(row("job.dead"), "expired")
