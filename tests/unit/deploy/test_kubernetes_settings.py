"""Pods have the settings and the secrets that they read, and no others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.db.roles.table import Role
from tests.unit.containers.support import PREFIX, REQUIRED, SETTINGS
from tests.unit.deploy.kustomize import (
    KUBERNETES,
    RUNS,
    SECRET_SETTINGS,
    SECRETS_FILE,
    Manifest,
    build,
    container,
    environment,
    needs_kubectl,
    of_kind,
    pods,
    scheduled,
    secret_references,
    settings_of,
)

pytestmark = needs_kubectl


@pytest.mark.parametrize("name", sorted(RUNS))
def test_settings_are_known_complete_and_accepted(example: list[Manifest], name: str) -> None:
    variables = environment(example, pods(example)[name])
    assert REQUIRED <= set(variables) <= SETTINGS
    # What is checked when it is read, such as a key in base64, is no placeholder.
    kept = {
        key: value
        for key, value in variables.items()
        if key in REQUIRED or key not in SECRET_SETTINGS
    }
    settings = settings_of(kept, s3_ca_file="/dev/null")
    assert str(settings.registry_dir).startswith("/tmp/")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_engine_and_queues_are_those_of_compose(
    example: list[Manifest], services: dict[str, Any], name: str
) -> None:
    of_a_process = ("ENGINE", "WORKER_QUEUES", "WORKER_THREADS", "EXPLAINER_METHODS")
    variables, there = environment(example, pods(example)[name]), services[name]["environment"]
    for setting in of_a_process:
        assert variables.get(PREFIX + setting) == there.get(PREFIX + setting), setting


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_pod_signs_in_as_its_own_role(built: list[Manifest], name: str) -> None:
    told = {
        variable: (secret, key) for variable, secret, key, _ in secret_references(pods(built)[name])
    }
    role = name.split("-", maxsplit=1)[0]
    wanted = (
        ("hemotriage-owner", "database_url") if name == "migrate" else ("hemotriage-database", role)
    )
    assert told["HEMOTRIAGE_DATABASE_URL"] == wanted
    assert ("HEMOTRIAGE_ROLE_PASSWORDS" in told) == (name == "migrate")


def test_settings_of_a_site_are_what_the_pods_read(tmp_path: Path) -> None:
    asked = {"HEMOTRIAGE_HL7_PORT": "2575", "HEMOTRIAGE_API_PROCESSES": "4"}
    shutil.copytree(KUBERNETES, tmp_path, dirs_exist_ok=True)
    overlay = tmp_path / "example" / "kustomization.yaml"
    said = yaml.safe_load(overlay.read_text())
    said["configMapGenerator"][0]["literals"] += [f"{n}={value}" for n, value in asked.items()]
    overlay.write_text(yaml.safe_dump(said))
    made = build(str(tmp_path / "example"))
    for name, setting in (("gateway", "HEMOTRIAGE_HL7_PORT"), ("api", "HEMOTRIAGE_API_PROCESSES")):
        assert environment(made, pods(made)[name])[setting] == asked[setting]


def test_no_secret_is_in_the_manifests(built: list[Manifest], example: list[Manifest]) -> None:
    for manifests in (built, example):
        assert not of_kind(manifests, "Secret")
        for settings in of_kind(manifests, "ConfigMap").values():
            assert not SECRET_SETTINGS & set(settings["data"])
        for pod in pods(manifests).values():
            literal = {one["name"] for one in container(pod)["env"] if "value" in one}
            assert not SECRET_SETTINGS & literal


def test_the_example_of_secrets_has_each_key_and_no_value(built: list[Manifest]) -> None:
    held = {
        (one["metadata"]["name"], key): value
        for one in yaml.safe_load_all(SECRETS_FILE.read_text())
        for key, value in one["stringData"].items()
    }
    running = [*pods(built).values(), *scheduled(built).values()]
    asked = {found[1:3] for pod in running for found in secret_references(pod)}
    assert set(held) == asked
    assert all("REPLACE" in value for value in held.values())
    roles = re.findall(r"^(\w+)=REPLACE$", held["hemotriage-owner", "role_passwords"], re.MULTILINE)
    assert set(roles) == set(Role)


def test_the_relay_alone_can_sign_the_audit_trail(built: list[Manifest]) -> None:
    """As docs/audit.md promises, and as with Compose."""
    assert [
        name
        for name, pod in pods(built).items()
        if any(told[0] == "HEMOTRIAGE_AUDIT_SIGNING_KEY" for told in secret_references(pod))
    ] == ["relay"]


def test_each_address_of_the_database_says_who_vouches_for_it() -> None:
    addresses = [
        value
        for one in yaml.safe_load_all(SECRETS_FILE.read_text())
        for value in one["stringData"].values()
        if value.startswith("postgresql")
    ]
    # libpq takes no server under `verify-full` without that file.
    assert len(addresses) == len(Role) + 1, "each role's, and the owner's"
    assert all("?sslmode=verify-full&sslrootcert=/etc/tls/ca.pem" in one for one in addresses)


def test_what_may_be_missing_is_what_compose_leaves_empty(built: list[Manifest]) -> None:
    for pod in pods(built).values():
        for _, secret, _, optional in secret_references(pod):
            assert optional == (secret == "hemotriage-optional")
