"""Uploads, the versions that they become, and what they leave."""

from __future__ import annotations

import hashlib
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import select

from shared.db.models import AuditRow
from shared.db.session import Sessions
from shared.storage import UPLOADS_PREFIX
from shared.storage.s3 import S3Store
from tests.datasets import (
    ended,
    upload,
)

NAME = "Ada Lovelace"


def made(client: FlaskClient, files: dict[str, bytes], **query: Any) -> dict[str, Any]:
    """Upload and wait for a version."""
    answer = upload(client, files, **query)
    assert answer.status_code == 202, answer.json
    found = ended(client, answer.json["id"])
    assert found["status"] == "ready", found["error"]
    return found


def uploads(storage: S3Store) -> set[str]:
    return {found.key for found in storage.list(UPLOADS_PREFIX, after=UPLOADS_PREFIX)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def audited(sessions: Sessions) -> list[AuditRow]:
    wanted = select(AuditRow).where(AuditRow.action.startswith("dataset.")).order_by(AuditRow.id)
    with sessions() as session:
        return list(session.scalars(wanted))
