"""A client that speaks UPS-RS, and an order that it placed."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from services.api.app import create_app
from tests import dicom
from tests.integration.posting import authorised
from tests.integration.workitems.steps import (
    create,
)


@pytest.fixture
def client(settings, sessions, storage) -> FlaskClient:
    secret = {"pseudonym_secret": SecretStr(dicom.SECRET)}
    return authorised(create_app(settings.model_copy(update=secret)), sessions)


@pytest.fixture
def key_id(client: FlaskClient) -> str:
    """The id of the client's key."""
    return client.environ_base["HTTP_AUTHORIZATION"].split("_")[1]


@pytest.fixture
def order(client: FlaskClient) -> str:
    """The UID of a workitem that was created and that nobody works on."""
    return create(client)
