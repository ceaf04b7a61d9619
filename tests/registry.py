"""Versions and gates for tests of the registry."""

from __future__ import annotations

import json

from sqlalchemy import text

from shared.db.session import Sessions
from shared.models.registry import ModelRegistry
from shared.registry.states import Override
from shared.registry.versions import register, store_artefacts
from shared.settings import PROJECT_ROOT
from shared.storage import ObjectStore
from shared.trainings.queue import request
from tests.trainings import a_ready_dataset, a_request

SHIPPED = ModelRegistry(PROJECT_ROOT / "models")
SIGNED = Override("a better one is not to be had", "another-key")
"""What stands for a gate."""


def registered_again(sessions: Sessions, storage: ObjectStore, shipped: str) -> str:
    """Register a shipped version as if a training run had made it; gives its new reference."""
    version = SHIPPED.resolve(shipped)
    store_artefacts(storage, version)
    run = request(sessions, a_request(a_ready_dataset(sessions)), actor="key:k")
    with sessions.begin() as session:
        return register(session, version.card, training_id=run.id, actor="worker:w")


def judged(
    sessions: Sessions,
    name: str,
    version: int,
    status: str,
    *,
    champion: str | None = None,
    policy: str = "",
    days_ago: int = 0,
) -> None:
    """A gate as the trainer leaves it."""
    ended = status in ("passed", "refused")
    values = {
        "name": name,
        "version": version,
        "champion": champion,
        "dataset_id": a_ready_dataset(sessions, locked=True),
        "status": status,
        "policy": policy,
        "report": json.dumps({"passed": status == "passed"}) if ended else None,
        "days": f"{days_ago} days",
        "ended": ended,
    }
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO gates (id, name, version, champion, dataset_id, status, report, "
                "policy_sha256, finished_at) VALUES (gen_random_uuid(), :name, :version, "
                ":champion, :dataset_id, :status, CAST(:report AS json), :policy, CASE WHEN :ended "
                "THEN now() - CAST(:days AS interval) END)"
            ),
            values,
        )
