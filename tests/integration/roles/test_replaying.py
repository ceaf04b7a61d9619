"""Who has a past job run again may read what that needs, and add that it was done."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, text

from shared.auth.tenants import EVERY_TENANT
from shared.db.roles.table import Role
from shared.db.session import create_sessions
from shared.errors import NotFoundError, UnknownModelError
from shared.jobs.queries import get_job
from shared.jobs.replayed import record_replay
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from tests.integration.roles.conftest import of_role


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.WORKER])
def test_a_replay_finds_jobs_and_registered_versions_and_is_recorded(
    owned: Engine, settings: Settings, role: Role
) -> None:
    sessions, job_id = of_role(owned, settings, role), uuid.uuid4()
    with pytest.raises(NotFoundError):
        get_job(sessions, job_id, tenant=EVERY_TENANT)
    with pytest.raises(UnknownModelError):
        Catalogue(settings, sessions).get("nobody", 1)
    record_replay(sessions, job_id, outcome="cannot", code="not_found")
    with create_sessions(owned)() as session:
        told = text("SELECT action FROM audit_events WHERE job_id = :job_id")
        assert session.scalars(told, {"job_id": job_id}).all() == ["job.replayed"]
