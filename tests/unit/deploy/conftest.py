"""The manifests, built once a file of tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.containers.support import SECRETS
from tests.unit.containers.support import resolve as compose_services
from tests.unit.deploy.kustomize import (
    Manifest,
    build,
)


@pytest.fixture(scope="module")
def built() -> list[Manifest]:
    return build("base") + build("gateway") + build("backup")


@pytest.fixture(scope="module")
def example() -> list[Manifest]:
    return build("example")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose_services(SECRETS)
