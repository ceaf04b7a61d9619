"""The real servers come up, keep their data through crashes, and leave no orphan."""

import io
import os
import pwd
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis

from shared.local import privilege
from shared.local.errors import AlreadyRunningError, PrivilegeError
from shared.local.ports import free_ports
from shared.local.postgres import Postgres
from shared.local.process import LocalProcess
from shared.local.servers import LocalServers, start_patiently
from shared.settings import Settings
from shared.storage import StorageUnavailableError
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


def test_killed_servers_come_back_with_their_data(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalServers(root) as servers:
        put_everywhere(servers)
        for process in servers.processes.values():
            process.kill()
        assert set(servers.ensure_alive()) == {"postgres", "valkey", "seaweedfs"}
        assert all(f"restarting {name}; its log is" in caplog.text for name in servers.processes)
        assert servers.ensure_alive() == []
        assert read_everywhere(servers) == (42, b"42", b"42")
    with LocalServers(root) as again:
        assert read_everywhere(again) == (42, b"42", b"42")


def test_a_bucket_is_made_while_the_store_is_away_by_one_who_waits(root: Path) -> None:
    with LocalServers(root) as servers, ThreadPoolExecutor() as pool:
        settings = settings_of(servers.environment())
        servers.seaweedfs.kill()
        with pytest.raises(StorageUnavailableError, match="NewConnectionError"):
            S3Store(settings, pool_size=1).ensure_bucket()
        made = pool.submit(S3Store(settings, pool_size=1, patient=True).ensure_bucket)
        with pytest.raises(TimeoutError):
            made.result(timeout=1)
        servers.ensure_alive()
        made.result(timeout=60)
        S3Store(settings, pool_size=1).ping()


def test_a_bucket_may_be_made_by_several_at_once(settings: Settings) -> None:
    new = settings.model_copy(update={"s3_bucket": f"made-{uuid.uuid4()}"})
    stores = [S3Store(new, pool_size=1) for _ in range(8)]
    with ThreadPoolExecutor(len(stores)) as pool:
        made = [pool.submit(store.ensure_bucket) for store in stores]
    assert [future.exception() for future in made] == [None] * len(stores)
    stores[0].ping()


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
    import pathlib, signal, sys, time
    from shared.local.servers import LocalServers
    # Who runs in the background of a shell may have been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    servers = LocalServers(pathlib.Path(sys.argv[1]))
    try:
        servers.start()
        print(*[process.pid for process in servers.processes.values()], flush=True)
        time.sleep(600)
    finally:
        servers.stop()
"""


def launch(
    root: Path, *prefix: str, **options: Any
) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    launcher = subprocess.Popen(
        [*prefix, sys.executable, "-c", textwrap.dedent(LAUNCHER), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
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


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's own")
def test_a_killed_launcher_takes_every_process_with_it(root: Path) -> None:
    launcher, children = launch(root)
    everything = children + [part for child in children for part in child.children(recursive=True)]
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs(everything, timeout=30)
    assert alive == []


def test_ctrl_c_stops_every_server(root: Path) -> None:
    launcher, children = launch(root)
    launcher.send_signal(signal.SIGINT)
    launcher.wait(30)
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []


AS_USER_1000 = ("unshare", "-U", "--map-user=1000", "--map-group=1000")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_the_servers_run_for_an_ordinary_user_too(service_folder: Path) -> None:
    root = service_folder / "ordinary"
    root.mkdir()
    try:
        os.chown(root, 65534, 65534)
        launcher, children = launch(root, user=65534, group=65534, extra_groups=[])
        assert {child.uids().real for child in children} == {65534}
    except PermissionError:  # this machine's Python is closed to ordinary users
        os.chown(root, 0, 0)
        if subprocess.run([*AS_USER_1000, "true"], check=False).returncode != 0:
            pytest.skip("no way to be an ordinary user who may run this machine's Python")
        launcher, children = launch(root, *AS_USER_1000)
        maps = {Path(f"/proc/{child.pid}/uid_map").read_text().split()[0] for child in children}
        assert maps == {"1000"}
    launcher.send_signal(signal.SIGINT)
    launcher.wait(30)
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []


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
        nobody = pwd.getpwnam("nobody")
        process = psutil.Process(servers.postgres.pid)
        assert process.uids().real == nobody.pw_uid
        assert process.gids().real == nobody.pw_gid, "and not in the group of root"
        put_everywhere(servers)
        assert read_everywhere(servers) == (42, b"42", b"42")


@contextmanager
def closing_servers(servers: LocalServers) -> Iterator[None]:
    try:
        yield
    finally:
        servers.stop()


def cluster_in(root: Path) -> Postgres:
    return Postgres(root / "data", root / "postgres.log", free_ports(1)[0], "password")


@contextmanager
def started(cluster: Postgres) -> Iterator[LocalProcess]:
    process = LocalProcess(cluster.spec())
    try:
        start_patiently(process)
        cluster.create_database()
        yield process
    finally:
        process.stop()


def sql(cluster: Postgres, statement: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(cluster.url.replace("+psycopg2", "")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def test_a_cluster_keeps_its_rows_through_a_restart_and_a_lock_file_of_another_process(
    root: Path,
) -> None:
    cluster = cluster_in(root)
    with started(cluster) as process:
        sql(cluster, "CREATE TABLE kept AS SELECT 42 AS value")
        process.restart()
        assert sql(cluster, "SELECT value FROM kept") == [(42,)]
        lock_file = cluster.data / "postmaster.pid"
        stale = lock_file.read_text().split("\n", 1)[1]
        process.kill()
        with subprocess.Popen(["sleep", "300"]) as stranger:
            lock_file.write_text(f"{stranger.pid}\n{stale}")
            start_patiently(process)
            assert sql(cluster, "SELECT value FROM kept") == [(42,)]
            assert stranger.poll() is None
            stranger.kill()


def test_a_query_that_outlives_its_killed_server_does_not_hold_up_the_next(root: Path) -> None:
    cluster = cluster_in(root)
    with started(cluster) as process, ThreadPoolExecutor() as pool:
        # Nothing in it waits, so that its backend does not notice the death of the server.
        query = pool.submit(sql, cluster, "SELECT count(*) FROM generate_series(1, 10000000000)")
        busy = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%series(1,%'"
        while not sql(cluster, f"{busy} AND pid <> pg_backend_pid()"):
            assert not query.done()
        process.kill()
        start_patiently(process)
        assert sql(cluster, "SELECT 42") == [(42,)]
        assert isinstance(query.exception(30), psycopg2.Error)


def test_a_first_start_that_is_killed_in_the_middle_is_made_good_by_the_next(root: Path) -> None:
    root.mkdir()
    launcher = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LAUNCHER), str(root)], stdout=subprocess.DEVNULL
    )
    while not any(root.glob("data/**/PG_VERSION")):
        assert launcher.poll() is None
    launcher.kill()
    launcher.wait()
    with LocalServers(root) as servers:
        put_everywhere(servers)
        assert {path.name for path in (root / "data").iterdir()} == set(servers.processes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_a_cluster_made_as_nobody_is_kept_where_a_namespace_is_to_be_had_later(
    root: Path,
) -> None:
    cluster = cluster_in(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(privilege, "_NAMESPACE", ("false",))
        try:
            cluster.spec()
        except PrivilegeError:
            pytest.skip("nobody may not read this checkout")
        with started(cluster):
            sql(cluster, "CREATE TABLE kept AS SELECT 42 AS value")
    with started(cluster):
        assert sql(cluster, "SELECT value FROM kept") == [(42,)]
