"""Keys and identities belong to tenants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import IntegrityError

from services.api.app import create_app
from shared.auth.keys import Scope, create_key, have_one_holder, list_keys, revoke_key, rotate_key
from shared.auth.tenants import AdminTenantError
from shared.db.models import ApiKeyRow
from tests.integration.access.scene import NORTH, SOUTH, Caller, settled
from tests.oidc_issuer import Issuer


def test_a_successor_is_of_the_same_tenant(sessions) -> None:
    key, _ = create_key(sessions, "k", [Scope.READ], tenant=NORTH)
    successor, _ = rotate_key(sessions, key.id, dt.timedelta(hours=1))
    assert (key.tenant, successor.tenant) == (NORTH, NORTH)


def test_only_keys_of_the_default_tenant_administer(sessions) -> None:
    with pytest.raises(AdminTenantError):
        create_key(sessions, "k", [Scope.ADMIN, Scope.READ], tenant=NORTH)
    assert list_keys(sessions) == []
    row = ApiKeyRow(id="1", name="k", secret_sha256="", scopes=["admin"], tenant=NORTH)
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(row)


@pytest.mark.parametrize("name", ["", "North", "-north", "north ", "n" * 33, "north\n"])
def test_a_tenant_has_a_plain_name(sessions, name: str) -> None:
    with pytest.raises(ValueError, match="expected up to 32"):
        create_key(sessions, "k", [Scope.READ], tenant=name)


def test_the_page_of_keys_makes_keys_of_tenants(application, sessions) -> None:
    admin = Caller(application, sessions, [Scope.ADMIN, Scope.READ])
    made = {"name": "ward", "scopes": "read", "tenant": NORTH}
    assert admin.open("POST", "/console/keys", data=made).status_code == 200
    refused = admin.open("POST", "/console/keys", data={**made, "scopes": "admin"})
    assert (refused.status_code, "admin_of_default_tenant" in refused.text) == (422, True)
    assert [key.tenant for key in list_keys(sessions)] == ["default", NORTH]
    assert NORTH in admin.open("GET", "/console/keys").text


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.close()


@pytest.fixture
def trusting(settings, sessions, storage, issuer) -> FlaskClient:
    told = {"oidc_issuers": issuer.setting, "oidc_tenant_claim": "hospital"}
    return create_app(settings.model_copy(update=told)).test_client()


def ask(client: FlaskClient, token: str, path: str = "/v1/jobs"):
    return client.get(path, headers={"Authorization": f"Bearer {token}"})


def test_a_token_is_of_the_tenant_that_its_claim_names(trusting, sessions, storage, issuer) -> None:
    settled(sessions, storage, NORTH)
    assert len(ask(trusting, issuer.token(hospital=NORTH)).json["jobs"]) == 3
    assert ask(trusting, issuer.token(hospital=SOUTH)).json["jobs"] == []
    one, other = (key for key in list_keys(sessions) if key.issuer is not None)
    assert {one.tenant, other.tenant} == {NORTH, SOUTH}
    assert have_one_holder(sessions, one, other), "one person has two identities"


@pytest.mark.parametrize("claim", [None, "", "No Name", ["north"], 7])
def test_a_token_that_names_no_tenant_may_do_nothing(trusting, sessions, issuer, claim) -> None:
    answer = ask(trusting, issuer.token("hemotriage.read", hospital=claim))
    assert (answer.status_code, answer.json["code"]) == (403, "tenant_missing")
    assert list_keys(sessions) == []


def test_a_token_of_another_tenant_administers_nothing(trusting, sessions, issuer) -> None:
    scopes = "hemotriage.read hemotriage.admin"
    assert ask(trusting, issuer.token(scopes, hospital=NORTH), "/v1/audit").status_code == 403
    assert ask(trusting, issuer.token(scopes, hospital="default"), "/v1/audit").status_code == 200


def test_who_is_revoked_comes_back_in_no_other_tenant(trusting, sessions, issuer) -> None:
    for tenant in (NORTH, SOUTH):
        assert ask(trusting, issuer.token(hospital=tenant)).status_code == 200
    revoke_key(sessions, list_keys(sessions)[0].id)
    assert all(key.revoked_at is not None for key in list_keys(sessions))
    for tenant in (NORTH, SOUTH, "west"):
        answer = ask(trusting, issuer.token(hospital=tenant, jti=tenant))
        assert (answer.status_code, answer.json["code"]) == (401, "key_revoked")
