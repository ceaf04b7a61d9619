"""A gateway is of the tenant of its key, whoever sends to it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from pydicom import dcmread
from sqlalchemy import select

from services.gateway.keys import GatewayKey
from services.gateway.main import create_intake
from services.gateway.orders import OrderIntake
from services.gateway.scp import Gateway
from shared.auth.hosts import client_address
from shared.auth.keys import Scope, create_key
from shared.db.models import JobRow, OrderRow
from shared.jobs.states import Priority
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.settings import Settings
from tests import hl7_orders
from tests.dicom import SECRET, dicom_bytes, field
from tests.integration.access.scene import CANARY, NORTH, SOUTH
from tests.integration.worklist.queries import CALLER, associate, numbers, query

LOCAL = client_address("127.0.0.1", "", ())


@pytest.fixture
def keys(sessions) -> dict[str, str]:
    scopes = [Scope.SUBMIT, Scope.READ]
    return {
        tenant: create_key(sessions, "gateway", scopes, tenant=tenant)[0].id
        for tenant in (NORTH, SOUTH)
    }


@pytest.fixture
def ports(settings, sessions, storage, keys) -> Iterator[dict[str, int]]:
    gateways = {}
    for tenant, key_id in keys.items():
        told = {"dicom_api_key_id": key_id, "dicom_calling_aes": f"{CALLER}@127.0.0.1"}
        gateways[tenant] = Gateway(create_intake(_with(settings, **told, dicom_port=0)))
    yield {tenant: gateway.start() for tenant, gateway in gateways.items()}
    for gateway in gateways.values():
        gateway.close()


def test_a_modality_sees_the_orders_of_its_gateways_tenant(sessions, keys, ports) -> None:
    for tenant, number in ((NORTH, f"{CANARY}-1"), (SOUTH, "S-1")):
        place(sessions, NewOrder(number), tenant=tenant, key_id=keys[tenant])
    assert numbers(ports[NORTH], query()) == [f"{CANARY}-1"]
    assert numbers(ports[SOUTH], query()) == ["S-1"]
    assert numbers(ports[SOUTH], query(AccessionNumber=f"{CANARY}*")) == []


def test_the_same_instance_is_a_job_of_each_tenant_with_its_own_order(
    sessions, keys, ports
) -> None:
    order = NewOrder("A-1", priority=Priority.STAT, specimen_id=f"{CANARY}-S")
    place(sessions, order, tenant=NORTH, key_id=keys[NORTH])
    instance = dcmread(io.BytesIO(dicom_bytes(field(), AccessionNumber="A-1")))
    for port in (ports[NORTH], ports[SOUTH], ports[SOUTH]):
        association = associate(port)
        assert association.send_c_store(instance).Status == 0
        association.release()
    with sessions() as session:
        jobs = {job.tenant: job for job in session.scalars(select(JobRow))}
        assert len(session.scalars(select(JobRow.id)).all()) == 2
    assert jobs[NORTH].priority == "stat"
    assert jobs[SOUTH].priority == "routine"
    assert jobs[SOUTH].specimen_id != f"{CANARY}-S"


def test_an_hl7_order_changes_and_cancels_none_of_another_tenant(settings, sessions, keys) -> None:
    told = _with(settings)
    order, _ = place(sessions, NewOrder("ACC-1"), tenant=NORTH, key_id=keys[NORTH])
    south = OrderIntake(told, sessions, GatewayKey(sessions, keys[SOUTH], "X"))
    cancelled = south.answer(
        hl7_orders.message(hl7_orders.PID, *hl7_orders.order(control="CA")).encode(), LOCAL
    )
    assert b"|AE|" in cancelled or b"|AR|" in cancelled, "as of a number that nobody has"
    placed = south.answer(hl7_orders.placed("ACC-1").encode(), LOCAL)
    assert b"|AA|" in placed
    with sessions() as session:
        rows = {row.tenant: row for row in session.scalars(select(OrderRow))}
    assert (rows[NORTH].id, rows[NORTH].placer_number) == (order.id, None)
    assert rows[SOUTH].placer_number == "ACC-1"


def _with(settings: Settings, **changes: object) -> Settings:
    told = {**settings.model_dump(), "pseudonym_secret": SECRET, **changes}
    return Settings.model_validate(told)
