"""Secrets come to a container from the environment alone, and to no more of them than need it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.db.roles.passwords import parse_role_passwords
from shared.db.roles.table import Role
from shared.settings import PROJECT_ROOT
from tests.unit.containers.support import (
    COMPOSE_FILE,
    MONITORING_FILE,
    OURS,
    PUSH_FILE,
    REQUIRED,
    ROLE_PASSWORDS,
    SECRET_NAME,
    SECRETS,
    SERVER_SECRETS,
    compose,
    resolve,
    settings_of,
    words,
)

# Empty unless set: without them there are no pseudonyms, no console, no secret of its own there.
OPTIONAL_SECRETS = {
    "HEMOTRIAGE_PSEUDONYM_SECRET",
    "HEMOTRIAGE_CONSOLE_SECRET",
    "HEMOTRIAGE_OIDC_CLIENT_SECRET",
}


@pytest.mark.parametrize("name", [*SERVER_SECRETS, ROLE_PASSWORDS[Role.API]])
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_a_missing_secret_stops_the_start(name: str, value: str | None) -> None:
    others = {key: secret for key, secret in SECRETS.items() if key != name}
    done = compose(others if value is None else {**others, name: value})
    assert done.returncode != 0
    assert f"set {name}" in done.stderr


@pytest.mark.parametrize("name", SECRETS)
def test_each_place_asks_for_a_secret_and_none_has_a_value_to_fall_back_on(name: str) -> None:
    places = re.findall(rf"\$\{{{name}(\W.*?)\}}", COMPOSE_FILE.read_text())
    assert set(places) == {f":?set {name}"}


def test_every_secret_comes_from_the_environment_and_none_is_on_a_command_line(
    services: dict[str, Any],
) -> None:
    found = set()
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if SECRET_NAME.search(key) and key not in OPTIONAL_SECRETS:
                assert [secret for secret in SECRETS.values() if secret in value], (name, key)
                found.add(key)
        assert not [secret for secret in SECRETS.values() if secret in " ".join(words(service))]
    assert found >= REQUIRED - {"HEMOTRIAGE_S3_ENDPOINT"}


def test_who_migrates_alone_has_every_roles_password(services: dict[str, Any]) -> None:
    told = {name: settings_of(services[name]).role_passwords.get_secret_value() for name in OURS}
    assert {name for name in OURS if told[name]} == {"migrate"}
    given = parse_role_passwords(told["migrate"])
    assert given == {role: SECRETS[variable] for role, variable in ROLE_PASSWORDS.items()}
    for name in set(OURS) - {"migrate"}:
        held = [secret for secret in given.values() if secret in json.dumps(services[name])]
        assert len(held) == 1, name


def test_who_makes_or_looks_for_pseudonyms_alone_has_their_secret() -> None:
    secret = "pseudonym-" * 4
    given = resolve({**SECRETS, "HEMOTRIAGE_PSEUDONYM_SECRET": secret}, PUSH_FILE)
    held = {name for name, service in given.items() if secret in json.dumps(service)}
    assert held == {"api", "gateway", "retention"}
    for name in held:
        read = settings_of(given[name]).pseudonym_secret
        assert read is not None
        assert read.get_secret_value() == secret


def test_the_example_names_what_the_compose_file_reads_and_holds_no_value() -> None:
    files = (COMPOSE_FILE, PUSH_FILE, MONITORING_FILE)
    read = {name for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())}
    example = (PROJECT_ROOT / ".env.example").read_text()
    assert dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE)) == dict.fromkeys(SECRETS, "")
    assert set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", example, re.MULTILINE)) == read
