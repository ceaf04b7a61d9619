"""Visitors of the console without a browser."""

from __future__ import annotations

import re
from typing import Any

from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import select

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.db.models import AuditRow
from shared.db.session import Sessions
from shared.settings import Settings

ADMIN = [Scope.ADMIN, Scope.READ]


class Visitor:
    """A browser that is signed in, and fills in forms as they stand on the page."""

    def __init__(self, settings: Settings, sessions: Sessions, scopes: list[Scope]) -> None:
        secret = SecretStr("a secret of the tests, long enough")
        app = create_app(settings.model_copy(update={"console_secret": secret}))
        self.http: FlaskClient = app.test_client()
        self.key, self.secret = create_key(sessions, "somebody", scopes)
        self.post("/sign-in", key=self.secret)

    def get(self, path: str, status: int = 200) -> str:
        answer = self.http.get(f"/console{path}")
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, **fields: Any) -> Any:
        """Send a form with the token of this session."""
        page = self.http.get("/console/queues", follow_redirects=True).text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        data = {"csrf_token": found[1], **fields}
        return self.http.post(f"/console{path}", data=data)


def told(sessions: Sessions, action: str) -> list[tuple[str, dict[str, Any]]]:
    with sessions() as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.action == action))
        return [(row.actor, row.details) for row in rows]
