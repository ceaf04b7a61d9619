"""The retention role may do all that a purge and an erasure need, and the API asks for both."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Engine

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.roles.table import Role
from shared.db.session import create_sessions
from shared.retention import holds
from shared.retention.erase import carry_out
from shared.retention.erasures import ErasureStatus, request_erasure
from shared.retention.holds import HoldKind
from shared.retention.ledger import read_ledger
from shared.retention.policy import Kind
from shared.retention.purge import Purge
from shared.retention.reapply import reapply
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.integration.retention.patients import a_patient, policy
from tests.integration.roles.conftest import of_role
from tests.trainings import a_ready_dataset

NO_TIME = dt.timedelta(0)


def test_what_is_asked_for_as_one_role_is_removed_as_another(
    owned: Engine, settings: Settings, storage: S3Store
) -> None:
    owner = create_sessions(owned)
    api, retention = (of_role(owned, settings, role) for role in (Role.API, Role.RETENTION))
    key_id = create_key(owner, "test", [Scope.SUBMIT])[0].id
    gone, other = (a_patient(owner, storage, key_id, name) for name in ("7", "8"))
    with owner() as session:
        sha256 = session.connection().exec_driver_sql("SELECT sha256 FROM job_images").scalar()
    image = {"label": "Pro", "sha256": sha256, "group": sha256}
    a_ready_dataset(owner, {"version": "b" * 64, "images": [image]})

    hold = holds.place(
        api, HoldKind.PATIENT_REF, gone.ref, tenant=DEFAULT_TENANT, reason="m-1", actor="key:k"
    )
    holds.release(api, hold.id, actor="key:k")
    asked = request_erasure(
        api, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    done = carry_out(retention, storage, asked.id, again_after=NO_TIME)
    assert done.status is ErasureStatus.DONE
    assert (done.counts["jobs"], done.counts["datasets"]) == (1, 1)
    entries = [one for one in read_ledger(retention, storage) if one.id == asked.id]
    reapply(retention, storage, entries, secret=None, again_after=NO_TIME)

    everything = policy(**dict.fromkeys(Kind, "0 days"))
    found = {one.kind: one for one in Purge(retention, storage, again_after=NO_TIME)(everything)}
    assert found[Kind.JOBS].removed == found[Kind.IMAGES].removed == 1
    assert found[Kind.REVIEW_COMMENTS].removed == found[Kind.SHADOW_RESULTS].removed == 1
    assert other.job_id not in done.job_ids
