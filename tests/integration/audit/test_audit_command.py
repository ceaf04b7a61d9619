"""`hemotriage audit`, as its user runs it; and the chain in the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from services.cli.audit import AuditChainBrokenError, command
from shared.audit.anchors import newest_checkpoint
from shared.audit.checkpoint import checkpoint_of
from shared.audit.export import MOST_IN_LINE, LineTooLongError, lines_of
from shared.audit.signing import AuditKeyError, PublicKeys, Signature, SigningKey
from shared.local.servers import LocalServers
from tests.command_line import command_line
from tests.integration.audit.trail import Trail

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(attested: Trail, servers: LocalServers) -> Run:
    def run_audit(*arguments: object, **environment: str) -> CompletedProcess[str]:
        given = {**servers.environment(), "HEMOTRIAGE_AUDIT_SIGNING_KEY": attested.key_text}
        return command_line("audit", *arguments, **{**given, **environment})

    return run_audit


def test_the_trail_is_verified_and_what_was_changed_is_named(
    attested: Trail, run: Run, tmp_path: Path
) -> None:
    whole = run("verify")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.startswith("12 events, positions 1 to 12 (7 checkpoints compared, signed")
    kept = newest_checkpoint(attested.sessions)
    assert kept is not None
    path = tmp_path / "checkpoint.json"
    path.write_bytes(kept.data)
    attested.tamper(
        "UPDATE audit_events SET actor = 'nobody' WHERE id = 6",
        "UPDATE audit_seals SET hash = sha256('x') WHERE position = 12",
    )
    broken = run("verify", "--checkpoint", path)
    assert broken.returncode == 1
    lines = broken.stdout.splitlines()
    assert lines[0].startswith("position 6, event 6: altered:")
    assert any("the checkpoint in checkpoint.json" in line for line in lines)
    assert "audit_chain_broken" in broken.stderr
    assert "the first at position 6" in broken.stderr


def test_a_file_is_verified_without_a_database(attested: Trail, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "trail.jsonl"
    made = run("export", "--output", path)
    assert (made.returncode, made.stdout) == (0, f"{path}: 12 events\n")
    assert [found.name for found in tmp_path.iterdir()] == ["trail.jsonl"]
    verify = ("verify", "--file", str(path), "--public-key", attested.key.public)
    whole = CliRunner().invoke(command, verify)
    assert (whole.exit_code, "signed up to 12" in whole.output) == (0, True)
    path.write_text(path.read_text().replace("operator", "nobody", 1))
    broken = CliRunner().invoke(command, [*verify, "--json"])
    assert isinstance(broken.exception, AuditChainBrokenError)
    (found,) = json.loads(broken.output)["findings"]
    assert (found["problem"], found["position"]) == ("altered", 1)


def test_a_file_whose_line_has_no_end_is_not_read_to_it(tmp_path: Path) -> None:
    path = tmp_path / "trail.jsonl"
    path.write_text("{}\n" + "x" * (MOST_IN_LINE + 1))
    with path.open() as file:
        lines = lines_of(file)
        assert next(lines) == "{}\n"
        with pytest.raises(LineTooLongError, match="Line 2 has more than 1048576 characters"):
            next(lines)
    path.write_text("x" * (MOST_IN_LINE + 1))
    refused = CliRunner().invoke(command, ["verify", "--file", str(path)])
    assert isinstance(refused.exception, LineTooLongError)


def test_a_key_that_was_made_is_one_that_signs() -> None:
    setting, public = CliRunner().invoke(command, ["keygen"]).output.splitlines()
    name, _, value = setting.partition("=")
    assert name == "HEMOTRIAGE_AUDIT_SIGNING_KEY"
    assert public == f"public key: {SigningKey(value).public}"


@pytest.mark.parametrize("key", ["nonsense", "c2hvcnQ="])
def test_what_is_no_key_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "trail.jsonl"
    path.write_text("")
    refused = CliRunner().invoke(command, ["verify", "--file", str(path), "--public-key", key])
    assert isinstance(refused.exception, AuditKeyError)


def test_the_api_gives_places_and_the_newest_checkpoint(client: FlaskClient, trail: Trail) -> None:
    assert client.get("/v1/audit/checkpoint").status_code == 404
    trail.write(1)
    trail.checkpoint()
    trail.write(1)
    events = client.get("/v1/audit?action=test.done").json["events"]
    assert [event["position"] for event in events] == [None, 2]
    assert [event["hash"] is None for event in events] == [True, False]
    found = checkpoint_of(client.get("/v1/audit/checkpoint").json)
    assert (found.position, found.hash.hex()) == (2, events[1]["hash"])
    assert PublicKeys([trail.key.public]).judge(found) is Signature.VALID
