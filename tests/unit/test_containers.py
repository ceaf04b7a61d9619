"""The compose file and the Dockerfiles say what the code reads, and nothing is left open.

Checked with the real Compose and hadolint binaries; no container engine is needed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.settings import PROJECT_ROOT, Settings

COMPOSE = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
SECRETS = {
    name: f"{name.lower()}-value"
    for name in ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")
}
PREFIX = "HEMOTRIAGE_"
OURS = ("api", "relay", "worker", "worker-gpu", "trainer", "migrate")
ONE_SHOT = {"migrate", "seaweedfs-fsync"}
DOCKERFILES = sorted((PROJECT_ROOT / "services").glob("*/Dockerfile"))
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
REQUIRED = {
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.is_required()
}


def compose(secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(COMPOSE), "--profile", "*", "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **secrets}
    return subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose itself resolves them."""
    done = compose(SECRETS)
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)["services"]
    return resolved


def test_the_compose_file_is_valid_and_has_every_part(services: dict[str, Any]) -> None:
    assert set(services) == {*OURS, "postgres", "valkey", "seaweedfs", "seaweedfs-fsync"}
    assert services["worker-gpu"]["profiles"] == ["gpu"]


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_stops_the_start(name: str) -> None:
    done = compose({key: value for key, value in SECRETS.items() if key != name})
    assert done.returncode != 0
    assert f"set {name}" in done.stderr


@pytest.mark.parametrize("name", OURS)
def test_every_name_is_one_that_the_code_reads_and_none_is_missing(
    services: dict[str, Any], name: str
) -> None:
    given = {key for key in services[name]["environment"] if key.startswith(PREFIX)}
    assert given <= SETTINGS
    assert given >= REQUIRED


@pytest.mark.parametrize("name", OURS)
def test_settings_are_accepted_and_lead_to_the_servers(services: dict[str, Any], name: str) -> None:
    environment = services[name]["environment"]
    values = {
        key.removeprefix(PREFIX).lower(): value
        for key, value in environment.items()
        if key.startswith(PREFIX)
    }
    settings = Settings.model_validate(values)
    database = urlsplit(settings.database_url.get_secret_value())
    broker = urlsplit(settings.broker_url.get_secret_value())
    assert (database.hostname, database.port) == ("postgres", 5432)
    assert database.password == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert database.path == "/" + services["postgres"]["environment"]["POSTGRES_DB"]
    assert broker.hostname == "valkey"
    assert f"--port {broker.port}" in services["valkey"]["command"][-1]
    host, port = settings.s3_endpoint.split(":")
    assert host == "seaweedfs"
    assert f"-s3.port={port}" in services["seaweedfs"]["command"]


def test_only_the_api_is_published_and_only_on_this_host(services: dict[str, Any]) -> None:
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"api"}
    (port,) = services["api"]["ports"]
    assert port["host_ip"] == "127.0.0.1"
    assert str(port["target"]) == services["api"]["environment"]["HEMOTRIAGE_API_PORT"]
    internal = [name for name, service in services.items() if "edge" not in service["networks"]]
    assert set(internal) == set(services) - {"api"}


def test_every_lasting_service_has_a_health_check_and_restarts(services: dict[str, Any]) -> None:
    lasting = set(services) - ONE_SHOT
    assert all(services[name]["healthcheck"]["test"] for name in lasting)
    assert all(services[name]["restart"] == "unless-stopped" for name in lasting)


def test_every_server_keeps_its_data_in_a_volume(services: dict[str, Any]) -> None:
    for name in ("postgres", "valkey", "seaweedfs"):
        assert [volume["type"] for volume in services[name]["volumes"]] == ["volume"], name


def test_our_containers_can_do_little(services: dict[str, Any]) -> None:
    for name in OURS:
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"], name


def test_commands_and_checks_name_modules_that_exist(services: dict[str, Any]) -> None:
    lines = [" ".join(services[name].get("command") or []) for name in OURS]
    lines += [" ".join(services[name].get("healthcheck", {}).get("test", [])) for name in OURS]
    lines += [path.read_text().replace('", "', " ") for path in DOCKERFILES]
    modules = {
        module for line in lines for module in re.findall(r"-m ((?:services|shared)[.\w]+)", line)
    }
    assert {"services.api.main", "services.cli", "shared.heartbeat"} <= modules
    for module in modules:
        path = PROJECT_ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_there_is_a_dockerfile_a_service() -> None:
    assert [path.parent.name for path in DOCKERFILES] == ["api", "trainer", "worker"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_passes_hadolint(dockerfile: Path) -> None:
    done = subprocess.run(
        [str(HADOLINT), str(dockerfile)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_ends_as_an_ordinary_user_with_names_that_the_code_reads(
    dockerfile: Path,
) -> None:
    text = dockerfile.read_text()
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users
    assert all(user == "10001:10001" for user in users)
    assert text.count("\nFROM ") >= 1, "it is built in stages"
    assert set(re.findall(r"HEMOTRIAGE_\w+", text)) <= SETTINGS


def test_the_ports_of_the_api_agree() -> None:
    text = (PROJECT_ROOT / "services/api/Dockerfile").read_text()
    ports = re.findall(r"(?:EXPOSE |API_PORT=|127\.0\.0\.1:)(\d+)", text)
    assert ports == ["8000"] * 3


@pytest.mark.parametrize("name", ["api", "worker"])
def test_api_and_cpu_worker_are_installed_without_tensorflow(name: str) -> None:
    packages = re.findall(
        r"^([\w.-]+)==", (PROJECT_ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE
    )
    assert "celery" in packages
    assert not [package for package in packages if package.startswith(("tensorflow", "keras"))]


@pytest.mark.parametrize("name", ["api", "worker", "trainer", "local", "dev"])
def test_every_requirement_is_locked_by_hash_and_names_no_index(name: str) -> None:
    text = (PROJECT_ROOT / f"requirements/{name}.txt").read_text()
    pinned = re.findall(r"^\S+==\S+ \\$", text, re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
    assert pinned == requirements
    assert "://" not in text
