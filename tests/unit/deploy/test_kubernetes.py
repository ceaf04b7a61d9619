"""The manifests are valid, run what the compose file runs, and leave nothing open."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.deploy.kustomize import (
    KUBERNETES,
    PAGE,
    RUNS,
    Manifest,
    container,
    environment,
    needs_kubectl,
    of_kind,
    pods,
    scheduled,
    selected,
)

pytestmark = needs_kubectl

NEWEST = "1.37"
LASTING = RUNS - {"migrate", "operator"}
SEVERAL = {"api", "worker", "worker-stat", "relay"}
ALONE = {"shadow", "trainer"}


def test_everything_runs_that_compose_runs_of_ours(
    built: list[Manifest], services: dict[str, Any]
) -> None:
    assert set(pods(built)) == RUNS
    ours = {name for name, one in services.items() if one["image"].startswith("hemotriage-")}
    assert ours - RUNS == {"worker-gpu"}


def test_kubernetes_takes_what_the_overlay_makes(example: list[Manifest]) -> None:
    assert set(pods(example)) == RUNS
    for manifest in example:
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_schema_finds_a_wrong_word(example: list[Manifest]) -> None:
    wrong = {**of_kind(example, "Deployment")["api"]}
    wrong["spec"] = {**wrong["spec"], "replica": 2}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@pytest.mark.parametrize("name", sorted(RUNS))
def test_image_and_command_are_those_of_compose(
    built: list[Manifest], services: dict[str, Any], name: str
) -> None:
    run, there = container(pods(built)[name]), services[name]
    assert run["image"] == there["image"]
    if name == "operator":
        assert run["command"] == ["sleep", "infinity"]
    else:
        assert run.get("command") == there.get("command")


@pytest.mark.parametrize("name", sorted(LASTING - {"api"}))
def test_a_probe_asks_what_compose_asks(
    built: list[Manifest], services: dict[str, Any], name: str
) -> None:
    run = container(pods(built)[name])
    (kind,) = {key for key in run if key.endswith("Probe")}
    assert run[kind]["exec"]["command"] == services[name]["healthcheck"]["test"][1:]
    # A check that goes through the broker would have every worker killed while that is away.
    assert (kind == "readinessProbe") == ("services.worker.health" in run[kind]["exec"]["command"])


def test_the_api_is_asked_as_compose_asks_it(
    built: list[Manifest], services: dict[str, Any]
) -> None:
    run = container(pods(built)["api"])
    check = " ".join(services["api"]["healthcheck"]["test"])
    ports = {port["name"]: port["containerPort"] for port in run["ports"]}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = run[kind]["httpGet"]
        assert f":{ports[asked['port']]}{asked['path']}'" in check


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_pod_can_do_little(built: list[Manifest], name: str) -> None:
    spec = pods(built)[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {
        "emptyDir",
        "configMap",
        "persistentVolumeClaim",
    }
    assert container(pods(built)[name])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_pod_has_room_and_bounds(built: list[Manifest], name: str) -> None:
    run, spec = container(pods(built)[name]), pods(built)[name]["spec"]
    assert set(run["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in run["resources"]["limits"]
    (memory,) = [volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume]
    assert memory["medium"] == "Memory"
    # What lies in /tmp counts as memory of the container.
    assert mebibytes(memory["sizeLimit"]) < mebibytes(run["resources"]["limits"]["memory"])
    mounted = {mount["mountPath"] for mount in run["volumeMounts"]}
    assert mounted - {"/app/var"} == {"/tmp", "/etc/tls"}


@pytest.mark.parametrize("name", sorted(RUNS - {"migrate"}))
def test_compose_bounds_memory_as_much(
    built: list[Manifest], services: dict[str, Any], name: str
) -> None:
    limit = container(pods(built)[name])["resources"]["limits"]["memory"]
    assert int(services[name]["mem_limit"]) == mebibytes(limit) * 1024**2
    assert services[name]["pids_limit"] == 1024


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "Gi" else 1)


def test_metrics_are_shown_at_a_port_of_their_own(example: list[Manifest]) -> None:
    for name in LASTING - {"api"}:
        pod = pods(example)[name]
        ports = {port["name"]: port["containerPort"] for port in container(pod)["ports"]}
        shown = environment(example, pod)
        assert str(ports["metrics"]) == shown["HEMOTRIAGE_METRICS_PORT"], name
        assert shown["HEMOTRIAGE_METRICS_HOST"] == "0.0.0.0"


def test_a_service_is_no_setting(built: list[Manifest]) -> None:
    for pod in pods(built).values():
        assert pod["spec"]["enableServiceLinks"] is False


def test_nothing_is_reached_that_no_policy_names(built: list[Manifest]) -> None:
    policies = of_kind(built, "NetworkPolicy")
    closed = policies.pop("default-deny")
    assert closed["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {
        name: {policy for policy, one in policies.items() if selected(one, pod)}
        for name, pod in pods(built).items()
    }
    assert {name for name, by in opened.items() if "api" in by} == {"api"}
    assert {frozenset(by - {"api"}) for by in opened.values()} == {
        frozenset({"names", "servers", "metrics"})
    }
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule["ports"]
            assert rule.get("from", rule.get("to"))


def test_who_stands_alone_is_never_there_twice_and_the_others_are_spread(
    built: list[Manifest],
) -> None:
    deployments, budgets = of_kind(built, "Deployment"), of_kind(built, "PodDisruptionBudget")
    alone = {
        n for n, one in deployments.items() if one["spec"].get("strategy") == {"type": "Recreate"}
    }
    assert alone == ALONE
    assert set(budgets) == SEVERAL
    for name, one in deployments.items():
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"] == labels
        assert ("topologySpreadConstraints" in one["spec"]["template"]["spec"]) == (name in SEVERAL)
        if name in SEVERAL:
            assert budgets[name]["spec"]["selector"]["matchLabels"] == labels
    (scaler,) = of_kind(built, "HorizontalPodAutoscaler").values()
    assert "replicas" not in deployments[scaler["spec"]["scaleTargetRef"]["name"]]["spec"]


def test_a_pod_leaves_before_it_is_killed(example: list[Manifest]) -> None:
    for name in LASTING:
        pod = pods(example)[name]
        pause = container(pod).get("lifecycle", {}).get("preStop", {}).get("exec", {})
        seconds = int(pause.get("command", ["sleep", "0"])[-1])
        # 30 s are what the API gives its requests and a worker its jobs, and some are for the way.
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 40 + seconds
        assert pod["spec"]["shareProcessNamespace"] is True


def test_the_migration_can_be_run_first_with_all_that_it_needs(example: list[Manifest]) -> None:
    first = [one for one in example if one["metadata"]["labels"].get("hemotriage/step") == "first"]
    assert {one["kind"] for one in first} == {
        "ConfigMap",
        "Job",
        "NetworkPolicy",
        # A restore comes before everything else, too.
        "CronJob",
        "PersistentVolumeClaim",
    }
    assert set(scheduled(first)) == {"restore"}
    job = pods(first)["migrate"]
    assert environment(first, job)["HEMOTRIAGE_S3_ENDPOINT"]
    assert {
        name for name, one in of_kind(first, "NetworkPolicy").items() if selected(one, job)
    } >= {
        "names",
        "servers",
    }
    assert "-l hemotriage/step=first" in PAGE.read_text()


def test_the_overlay_replaces_every_image(example: list[Manifest]) -> None:
    for pod in pods(example).values():
        assert re.fullmatch(
            r"registry\.example\.org/hemotriage-[a-z]+:\d+\.\d+\.\d+", container(pod)["image"]
        )


def test_the_words_are_those_that_old_and_new_kustomize_know() -> None:
    for path in KUBERNETES.glob("*/kustomization.yaml"):
        said = yaml.safe_load(path.read_text())
        # `patches`, `components`, `labels` and folders in `resources` came after Debian's kubectl.
        assert not {"patches", "components", "labels", "replacements"} & set(said), path
        assert all((path.parent / name).is_file() for name in said["resources"])
