"""The compose file, resolved once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.containers.support import SECRETS, resolve


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose itself resolves them."""
    return resolve(SECRETS)
