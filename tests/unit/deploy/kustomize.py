"""What the checks of the Kubernetes manifests share: kustomize, and how to read its manifests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from shared.secret_files import is_secret
from shared.settings import PROJECT_ROOT, Settings
from tests.unit.containers.support import PREFIX

KUBERNETES = PROJECT_ROOT / "deploy" / "kubernetes"
SECRET_SETTINGS = {
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if is_secret(field)
}
PAGE = PROJECT_ROOT / "docs" / "operations" / "install-kubernetes.md"
SECRETS_FILE = KUBERNETES / "example" / "secrets.example.yaml"

# The base has no GPU: that needs a device plugin and nodes of the site.
RUNS = {
    "api",
    "gateway",
    "worker",
    "worker-stat",
    "explainer",
    "explainer-lime",
    "shadow",
    "relay",
    "retention",
    "trainer",
    "operator",
    "migrate",
}

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed: `make peers`"
)

Manifest = dict[str, Any]


def build(folder: str) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder of `deploy/kubernetes`; no cluster is asked."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of a kind by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod template of each Deployment and Job, by its name."""
    runs = {**of_kind(manifests, "Deployment"), **of_kind(manifests, "Job")}
    return {name: each["spec"]["template"] for name, each in runs.items()}


def scheduled(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod template of each CronJob, by its name."""
    runs = of_kind(manifests, "CronJob")
    return {name: each["spec"]["jobTemplate"]["spec"]["template"] for name, each in runs.items()}


def container(pod: Manifest) -> Manifest:
    (only,) = pod["spec"]["containers"]
    return dict(only)


def selected(policy: Manifest, pod: Manifest) -> bool:
    """Whether a network policy is about a pod."""
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    return bool(wanted.items() <= pod["metadata"]["labels"].items())


def secret_references(pod: Manifest) -> Iterator[tuple[str, str, str, bool]]:
    """Variable, secret, key and whether it may be missing, of each variable from a secret."""
    for variable in container(pod).get("env", []):
        if source := variable.get("valueFrom"):
            told = source["secretKeyRef"]
            yield variable["name"], told["name"], told["key"], told.get("optional", False)


def environment(manifests: list[Manifest], pod: Manifest) -> dict[str, str]:
    """The variables of a pod as Kubernetes would set them, with the values of the example."""
    held = {
        one["metadata"]["name"]: one["stringData"]
        for one in yaml.safe_load_all(SECRETS_FILE.read_text())
    }
    maps = of_kind(manifests, "ConfigMap")
    found: dict[str, str] = {}
    for source in container(pod).get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    for variable in container(pod).get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
    for name, secret, key, _ in secret_references(pod):
        found[name] = held[secret][key]
    return found


def settings_of(variables: dict[str, str], **instead: str) -> Settings:
    """The settings that a process reads out of these variables."""
    told = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    return Settings.model_validate({**told, **instead})
