"""Gates for tests of their queue and of the trainer."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text

from shared.db.models import AuditRow
from shared.db.session import Sessions
from shared.registry.gate_claim import claim
from shared.registry.gates import request_gate
from shared.registry.states import (
    Gate,
    GateClaim,
)
from tests.registry import SHIPPED

LIMIT = 3
LEASE = 60
STUDENT = SHIPPED.resolve("student@2")


def asked(sessions: Sessions, *, champion: str | None = "student@1", **changes: Any) -> Gate:
    """A gate that waits."""
    values = {"dataset_id": None, "actor": "key:k", **changes}
    version = values.pop("version", STUDENT)
    return request_gate(sessions, version, champion=champion, **values)


def taken(sessions: Sessions, worker: str = "t1") -> GateClaim | None:
    return claim(sessions, worker=worker, lease_seconds=LEASE, max_attempts=LIMIT)


def a_report(*, passed: bool = True) -> dict[str, Any]:
    reasons = [] if passed else ["Accuracy is low."]
    return {"passed": passed, "reasons": reasons, "policy": {"version": "1", "sha256": "c" * 64}}


def set_all(sessions: Sessions, change: str) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE gates SET {change}"))


def told(sessions: Sessions) -> list[tuple[str, str, dict[str, Any]]]:
    """The audit trail of gates: actor, action and details."""
    with sessions() as session:
        rows = session.scalars(
            select(AuditRow).where(AuditRow.action.startswith("gate.")).order_by(AuditRow.id)
        )
        return [(row.actor, row.action, row.details) for row in rows]
