"""The secret of each tenant's receivers."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from shared.auth.tenants import DEFAULT_TENANT
from shared.webhooks.signature import key_of, new_secret
from shared.webhooks.tenant_secrets import secret_of


def test_the_default_tenant_has_the_secret_of_the_service() -> None:
    secret = new_secret()
    assert secret_of(secret, DEFAULT_TENANT) == secret


def test_other_tenants_have_one_each_that_changes_with_that_of_the_service() -> None:
    first, second = new_secret(), new_secret()
    made = [secret_of(of, tenant) for of in (first, second) for tenant in ("north", "south")]
    assert len({first, second, *made}) == 6
    assert secret_of(first, "north") == made[0]


def test_it_is_what_a_library_derives() -> None:
    secret = new_secret()
    expand = HKDFExpand(SHA256(), length=32, info=b"hemotriage webhooks of tenant north")
    assert key_of(secret_of(secret, "north")) == expand.derive(key_of(secret))


@pytest.mark.parametrize("tenant", [DEFAULT_TENANT, "north"])
def test_a_secret_that_is_none_makes_none(tenant: str) -> None:
    with pytest.raises(ValueError, match="expected whsec_"):
        secret_of("whsec_short", tenant)
