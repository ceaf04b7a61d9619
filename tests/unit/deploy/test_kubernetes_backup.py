"""The backup of each night, and the restore at hand: as confined as all else, and complete."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli import cli
from tests.unit.containers.support import REQUIRED, SETTINGS
from tests.unit.deploy.kustomize import (
    PAGE,
    Manifest,
    container,
    environment,
    needs_kubectl,
    of_kind,
    pods,
    scheduled,
    secret_references,
    selected,
)

pytestmark = needs_kubectl

each = pytest.mark.parametrize("name", ["backup", "restore"])


@each
def test_it_is_confined_as_the_migration_is(built: list[Manifest], name: str) -> None:
    pod, like = scheduled(built)[name], pods(built)["migrate"]
    for key in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod["spec"][key] == like["spec"][key]
    assert container(pod)["securityContext"] == container(like)["securityContext"]
    assert container(pod)["image"] == container(like)["image"]
    assert {"cpu", "memory"} == set(container(pod)["resources"]["requests"])
    policies = of_kind(built, "NetworkPolicy")
    assert {n for n, one in policies.items() if selected(one, pod)} == {
        n for n, one in policies.items() if selected(one, like)
    }


@each
def test_settings_are_known_and_complete(example: list[Manifest], name: str) -> None:
    assert REQUIRED <= set(environment(example, scheduled(example)[name])) <= SETTINGS


def test_who_backs_up_may_only_read_and_who_restores_owns(built: list[Manifest]) -> None:
    signs_in = {
        name: (secret, key)
        for name, pod in scheduled(built).items()
        for variable, secret, key, _ in secret_references(pod)
        if variable == "HEMOTRIAGE_DATABASE_URL"
    }
    assert signs_in == {
        "backup": ("hemotriage-database", "backup"),
        "restore": ("hemotriage-owner", "database_url"),
    }


def test_a_restore_never_begins_by_itself_and_a_backup_never_twice(built: list[Manifest]) -> None:
    runs = of_kind(built, "CronJob")
    assert {name: one["spec"]["suspend"] for name, one in runs.items()} == {
        "backup": False,
        "restore": True,
    }
    assert {one["spec"]["concurrencyPolicy"] for one in runs.values()} == {"Forbid"}
    assert "--from cronjob/restore" in PAGE.read_text()


def test_the_commands_are_those_of_the_command_line(built: list[Manifest], tmp_path: Path) -> None:
    said = [container(pod)["command"] for pod in scheduled(built).values()]
    lines = [command[-1] if command[0] == "sh" else shlex.join(command) for command in said]
    commands = [part.split("services.cli ")[1] for line in lines for part in line.split(" && ")]
    assert len(commands) == 3
    for command in commands:
        told = shlex.split(command.replace("/backups", str(tmp_path)))
        done = CliRunner().invoke(cli, [*told, "--help"])
        assert done.exit_code == 0, done.output
