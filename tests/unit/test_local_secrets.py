"""Passwords and ports are made once; a port that others took is chosen anew."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest

from shared.local.errors import LocalServiceError
from shared.local.ports import GRPC_OFFSET, HOST, free_ports, free_row, is_free
from shared.local.secrets import load_or_make_secrets

FIRST_OUTGOING_PORT = 32_768  # of Linux; such a port may be gone while its server restarts


def test_a_port_that_something_listens_on_is_not_free() -> None:
    for address in (HOST, "0.0.0.0"):
        with socket.socket() as taken:
            taken.bind((address, 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert not is_free(port)
        assert is_free(port)


def test_free_ports_differ_and_leave_outgoing_connections_theirs() -> None:
    found = free_ports(50, paired=True)
    both = {*found, *(port + GRPC_OFFSET for port in found)}
    assert len(both) == 100
    assert max(both) < FIRST_OUTGOING_PORT


def is_held(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


@pytest.fixture
def seven(monkeypatch: pytest.MonkeyPatch) -> int:
    """Ports in a row that nobody has found, and the only ones looked at; gives the first."""
    rows = (range(first, first + 7) for first in range(13_000, 21_000, 7))
    row = next(row for row in rows if all(is_free(n) and not is_held(n) for n in row))
    monkeypatch.setattr("shared.local.ports._FIRST", row[0])
    monkeypatch.setattr("shared.local.ports._LAST", row[-1])
    return row[0]


def test_a_row_leaves_out_the_port_that_something_listens_on(seven: int) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, seven + 3))
        taken.listen()
        with pytest.raises(LocalServiceError):
            free_row(4)
    assert free_row(4) in range(seven, seven + 3)
    with pytest.raises(LocalServiceError):
        free_row(4)


def test_no_process_finds_a_port_that_another_has_found(seven: int) -> None:
    look = f"""
from shared.local import ports
ports._FIRST, ports._LAST = {seven}, {seven + 6}
print(*ports.free_ports(3), flush=True)
input()
"""
    command = [sys.executable, "-c", look]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as other:
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours = set(free_ports(4))
        assert (len(theirs), theirs & ours) == (3, set())
        with pytest.raises(LocalServiceError):
            free_ports(1)
        other.communicate("\n")
    assert set(free_ports(3)) == theirs


def test_passwords_and_ports_are_kept_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secrets.json"
    made = load_or_make_secrets(path)
    assert load_or_make_secrets(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path], "nothing readable is left beside it"


def test_two_folders_share_no_password(tmp_path: Path) -> None:
    one, two = (load_or_make_secrets(tmp_path / name) for name in ("one", "two"))
    assert one.postgres_password != two.postgres_password
    assert one.valkey_password != two.valkey_password
    assert one.s3_secret_key != two.s3_secret_key


@pytest.mark.parametrize("server", ["postgres", "valkey", "seaweedfs gRPC"])
def test_only_a_port_that_was_taken_meanwhile_is_chosen_anew(tmp_path: Path, server: str) -> None:
    made = load_or_make_secrets(tmp_path / "secrets.json")
    port = {
        "postgres": made.postgres_port,
        "valkey": made.valkey_port,
        "seaweedfs gRPC": made.seaweedfs_ports["filer"] + GRPC_OFFSET,
    }[server]
    with socket.socket() as stranger:
        stranger.bind((HOST, port))
        stranger.listen()
        found = load_or_make_secrets(tmp_path / "secrets.json")
    field = {"postgres": "postgres_port", "valkey": "valkey_port"}.get(server, "seaweedfs_ports")
    assert getattr(found, field) != getattr(made, field)
    assert replace(found, **{field: getattr(made, field)}) == made
