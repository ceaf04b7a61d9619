"""What the checks of the containers share: the real binaries, and how to read the files.

No container engine is needed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from shared.db.roles.table import Role
from shared.settings import PROJECT_ROOT, Settings

# Called directly: the entry point of its package ends with 0 whatever Compose says.
COMPOSE = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
COMPOSE_FILE = PROJECT_ROOT / "docker-compose.yml"
PUSH_FILE = PROJECT_ROOT / "docker-compose.push.yml"
MONITORING_FILE = PROJECT_ROOT / "docker-compose.monitoring.yml"
ROLE_PASSWORDS = {role: f"DATABASE_PASSWORD_{role.upper()}" for role in Role}
SERVER_SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")
SECRETS = {name: f"{name.lower()}-value" for name in (*SERVER_SECRETS, *ROLE_PASSWORDS.values())}
PREFIX = "HEMOTRIAGE_"
OURS = (
    "api",
    "gateway",
    "relay",
    "retention",
    "worker",
    "worker-stat",
    "worker-gpu",
    "explainer",
    "explainer-lime",
    "shadow",
    "trainer",
    "operator",
    "migrate",
)
SERVERS = ("postgres", "valkey", "seaweedfs")
ONE_SHOT = ("migrate", "seaweedfs-fsync")
AT_A_PROMPT = ("operator",)
ALL = {*OURS, *SERVERS, *ONE_SHOT}
DOCKERFILES = {path.parent.name: path for path in PROJECT_ROOT.glob("services/*/Dockerfile")}
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
REQUIRED = {
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.is_required()
}
SECRET_NAME = re.compile(r"PASSWORD|ACCESS_KEY|SECRET|AUTH$|TOKEN|(DATABASE|BROKER)_URL")
FROM = re.compile(r"^FROM (\S+)(?: AS (\S+))?$", re.MULTILINE)

each_dockerfile = pytest.mark.parametrize("image", ["api", "worker", "trainer"])


def compose(environment: dict[str, str], *added: Path) -> subprocess.CompletedProcess[str]:
    # No file of the developer's own, .env or override, is read.
    files = ["--env-file", os.devnull]
    for file in (COMPOSE_FILE, *added):
        files += ["--file", str(file)]
    return subprocess.run(
        [str(COMPOSE), *files, "--profile", "*", "config", "--format", "json"],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def resolve(environment: dict[str, str], *added: Path) -> dict[str, Any]:
    done = compose(environment, *added)
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)["services"]
    return resolved


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
    names = ("cpu", "gpu", "explainer") if image == "worker" else (list(parts)[-1],)
    return {name: parts.get("base", "") + parts[name] for name in names}


def locked(name: str) -> set[str]:
    text = (PROJECT_ROOT / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==", text, re.MULTILINE))
