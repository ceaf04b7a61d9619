"""The real servers come up, keep their data through crashes, and leave no orphan."""

import io
import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from shared.local import privilege
from shared.local.errors import AlreadyRunningError, PrivilegeError
from shared.local.leftovers import find_process
from shared.local.servers import LocalServers
from shared.storage.s3 import S3Store
from tests.conftest import settings_of


@pytest.fixture
def root(service_folder: Path, request: pytest.FixtureRequest) -> Path:
    return service_folder / request.node.name[:30]


def put_everywhere(servers: LocalServers) -> None:
    settings = settings_of(servers.environment())
    with psycopg2.connect(dsn(servers)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (value int); INSERT INTO kept VALUES (42)")
    redis.Redis.from_url(settings.broker_url.get_secret_value()).set("kept", "42")
    store = S3Store(settings, pool_size=2)
    store.ensure_bucket()
    store.put("kept", io.BytesIO(b"42"), 2, "text/plain")


def read_everywhere(servers: LocalServers) -> tuple[int, bytes, bytes]:
    settings = settings_of(servers.environment())
    with psycopg2.connect(dsn(servers)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM kept")
        value = cursor.fetchone()[0]
    cached = redis.Redis.from_url(settings.broker_url.get_secret_value()).get("kept")
    return value, cached, S3Store(settings, pool_size=2).get("kept")


def dsn(servers: LocalServers) -> str:
    return servers.environment()["HEMOTRIAGE_DATABASE_URL"].replace("+psycopg2", "")


def test_killed_servers_come_back_with_their_data(root: Path) -> None:
    with LocalServers(root) as servers:
        put_everywhere(servers)
        for process in servers.processes.values():
            process.kill()
        assert set(servers.ensure_alive()) == {"postgres", "valkey", "seaweedfs"}
        assert servers.ensure_alive() == []
        assert read_everywhere(servers) == (42, b"42", b"42")
    with LocalServers(root) as again:
        assert read_everywhere(again) == (42, b"42", b"42")


def test_nothing_listens_beyond_the_loopback_interface(servers: LocalServers) -> None:
    for process in servers.processes.values():
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(process.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening, process.spec.name
        assert set(listening) == {"127.0.0.1"}, process.spec.name


def test_the_servers_want_their_passwords(servers: LocalServers) -> None:
    settings = servers.environment()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(dsn(servers).replace("hemotriage:", "hemotriage:wrong"))
    port = settings["HEMOTRIAGE_BROKER_URL"].rsplit(":", 1)[1].split("/")[0]
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=int(port)).ping()


def test_secrets_are_for_the_owner_alone_and_on_no_command_line(
    servers: LocalServers, service_folder: Path
) -> None:
    secrets_file = service_folder / "servers" / "secrets.json"
    assert secrets_file.stat().st_mode & 0o777 == 0o600
    secret = servers.environment()["HEMOTRIAGE_S3_SECRET_KEY"]
    password = servers.environment()["HEMOTRIAGE_BROKER_URL"].split(":")[2].split("@")[0]
    for process in servers.processes.values():
        command_line = " ".join(psutil.Process(process.pid).cmdline())
        assert secret not in command_line
        assert password not in command_line


def test_a_second_launcher_in_the_same_folder_is_refused(
    servers: LocalServers, service_folder: Path
) -> None:
    with pytest.raises(AlreadyRunningError):
        LocalServers(service_folder / "servers").start()
    assert all(process.is_running() for process in servers.processes.values())


LAUNCHER = """
    import pathlib, sys, time
    from shared.local.servers import LocalServers
    servers = LocalServers(pathlib.Path(sys.argv[1]))
    try:
        servers.start()
        print(*[process.pid for process in servers.processes.values()], flush=True)
        time.sleep(600)
    finally:
        servers.stop()
"""


def launch(root: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    launcher = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LAUNCHER), str(root)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout
    children = [psutil.Process(int(pid)) for pid in launcher.stdout.readline().split()]
    assert len(children) == 3
    return launcher, children


def test_a_killed_launcher_leaves_nothing_that_the_next_start_does_not_end(root: Path) -> None:
    launcher, children = launch(root)
    launcher.kill()
    launcher.wait()
    with LocalServers(root) as servers:
        put_everywhere(servers)
        assert not any(child.is_running() for child in children)
        assert all(process.is_running() for process in servers.processes.values())


def test_ctrl_c_stops_every_server(root: Path) -> None:
    launcher, children = launch(root)
    launcher.send_signal(signal.SIGINT)
    launcher.wait(30)
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []


def test_a_reused_process_id_is_not_taken_for_ours() -> None:
    own = psutil.Process(os.getpid())
    assert find_process(own.pid, own.create_time()) is not None
    assert find_process(own.pid, own.create_time() - 5) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_the_servers_run_for_an_ordinary_user_too(service_folder: Path) -> None:
    root = service_folder / "ordinary"
    root.mkdir()
    os.chown(root, 65534, 65534)
    try:
        launcher = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(LAUNCHER), str(root)],
            stdout=subprocess.PIPE,
            text=True,
            user=65534,
            group=65534,
            extra_groups=[],
        )
    except PermissionError:
        pytest.skip("this machine's Python is closed to ordinary users")
    assert launcher.stdout
    pids = [int(pid) for pid in launcher.stdout.readline().split()]
    assert {psutil.Process(pid).uids().real for pid in pids} == {65534}
    launcher.send_signal(signal.SIGINT)
    launcher.wait(30)
    time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_where_root_gets_no_namespace_postgres_runs_as_nobody(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privilege, "_NAMESPACE", ("false",))
    root.mkdir()
    try:
        servers = LocalServers(root)
        servers.start()
    except PrivilegeError:
        pytest.skip("nobody may not read this checkout")
    with closing_servers(servers):
        nobody = pwd.getpwnam("nobody").pw_uid
        assert psutil.Process(servers.postgres.pid).uids().real == nobody
        put_everywhere(servers)
        assert read_everywhere(servers) == (42, b"42", b"42")


@contextmanager
def closing_servers(servers: LocalServers) -> Iterator[None]:
    try:
        yield
    finally:
        servers.stop()
