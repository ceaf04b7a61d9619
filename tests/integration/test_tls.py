"""Every server can be spoken to by TLS, and one whose certificate does not fit is refused."""

from __future__ import annotations

import io
import socket
import ssl
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.db.session import create_database
from shared.local.ports import HOST, free_ports
from shared.local.process import LocalProcess, ProcessSpec
from shared.local.servers import LocalServers
from shared.queue.app import create_celery
from shared.settings import Settings
from shared.storage import StorageUnavailableError
from shared.storage.s3 import S3Store
from tests.certificates import Certificate, make_certificate, needs_openssl
from tests.tls_front import tls_front
from tests.waiting import eventually

pytestmark = needs_openssl

API_CONNECTIONS = 4

HOSTS = {"right": "IP:127.0.0.1", "elsewhere": "DNS:elsewhere.example.org"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """One for this machine, one for another host, and one of a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    made = {name: make_certificate(folder, name, host) for name, host in HOSTS.items()}
    return {**made, "stranger": make_certificate(folder, "stranger")}


# What a server shows, whom the client trusts, and whether they get on.
CASES = [("right", "right", True), ("right", "stranger", False), ("elsewhere", "elsewhere", False)]
each_case = pytest.mark.parametrize(("shown", "trusted", "fits"), CASES)


def port_of(address: str) -> int:
    port = urlsplit(address).port
    assert port is not None
    return port


def with_port(address: str, port: int) -> str:
    return address.replace(f":{port_of(address)}/", f":{port}/")


@each_case
def test_postgresql_by_tls(
    settings: Settings,
    certificates: dict[str, Certificate],
    shown: str,
    trusted: str,
    fits: bool,
) -> None:
    address = settings.database_url.get_secret_value()
    front = tls_front(port_of(address), certificates[shown], postgres=True)
    with front as port:
        query = f"?sslmode=verify-full&sslrootcert={certificates[trusted].file}"
        changed = {"database_url": with_port(address, port) + query}
        engine = create_database(own(settings, changed), pool_size=1)
        if fits:
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT 42")) == 42
                assert connection.connection.driver_connection.info.ssl_in_use
        else:
            with pytest.raises(OperationalError, match="certificate"):
                engine.connect()
        engine.dispose()


def test_a_postgresql_without_tls_is_refused(settings: Settings) -> None:
    address = settings.database_url.get_secret_value() + "?sslmode=verify-full"
    with pytest.raises(OperationalError, match="does not support SSL"):
        create_database(own(settings, {"database_url": address}), pool_size=1).connect()


def test_a_postgresql_that_nobody_vouches_for_is_refused(
    settings: Settings,
    certificates: dict[str, Certificate],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libpq does not fall back on the system's authorities, as docs/security.md says."""
    monkeypatch.setenv("HOME", str(tmp_path))
    address = settings.database_url.get_secret_value()
    with tls_front(port_of(address), certificates["right"], postgres=True) as port:
        changed = {"database_url": with_port(address, port) + "?sslmode=verify-full"}
        with pytest.raises(OperationalError, match=r"root certificate file .* does not exist"):
            create_database(own(settings, changed), pool_size=1).connect()


def own(settings: Settings, changes: dict[str, object]) -> Settings:
    """The settings with changes that are checked as any others."""
    return Settings.model_validate({**settings.model_dump(), **changes})


def broker_answers(settings: Settings) -> bool:
    with create_celery(settings, answer_timeout=2).connection_for_write() as connection:
        channel = connection.default_channel
        return bool(channel.client.ping())


@each_case
def test_valkey_by_tls(
    settings: Settings,
    certificates: dict[str, Certificate],
    shown: str,
    trusted: str,
    fits: bool,
) -> None:
    address = settings.broker_url.get_secret_value()
    with tls_front(port_of(address), certificates[shown]) as port:
        secure = with_port(address, port).replace("redis://", "rediss://")
        changed = own(
            settings, {"broker_url": f"{secure}?ssl_ca_certs={certificates[trusted].file}"}
        )
        if fits:
            assert broker_answers(changed)
        else:
            with pytest.raises(BrokerError, match="certificate verify failed"):
                broker_answers(changed)
        # Without an authority of one's own it is the system's, which has not heard of any of them.
        with pytest.raises(BrokerError, match="certificate verify failed"):
            broker_answers(own(settings, {"broker_url": secure}))


@each_case
def test_the_object_store_by_tls(
    settings: Settings,
    certificates: dict[str, Certificate],
    shown: str,
    trusted: str,
    fits: bool,
) -> None:
    host, port = settings.s3_endpoint.split(":")
    with tls_front(int(port), certificates[shown]) as front:
        secure = {"s3_endpoint": f"{host}:{front}", "s3_secure": True}
        authority = {"s3_ca_file": str(certificates[trusted].file)}
        store = S3Store(own(settings, {**secure, **authority}), pool_size=1)
        if fits:
            store.ensure_bucket()
            store.put("by-tls", io.BytesIO(b"42"), 2, "text/plain")
            assert store.get("by-tls") == b"42"
        else:
            with pytest.raises(StorageUnavailableError, match="SSLError"):
                store.ping()
        with pytest.raises(StorageUnavailableError, match="SSLError"):
            S3Store(own(settings, secure), pool_size=1).ping()


@pytest.fixture(scope="module")
def api(
    servers: LocalServers, certificates: dict[str, Certificate], tmp_path_factory
) -> Iterator[str]:
    """An API that speaks TLS; its address."""
    (port,) = free_ports(1)
    url = f"https://{HOST}:{port}"
    certificate = certificates["right"]
    process = LocalProcess(
        ProcessSpec(
            name="api",
            command=[sys.executable, "-m", "services.api.main"],
            log=tmp_path_factory.mktemp("api") / "log",
            environment={
                **servers.environment(),
                "HEMOTRIAGE_API_PORT": str(port),
                "HEMOTRIAGE_API_PROCESSES": "1",
                "HEMOTRIAGE_API_CONNECTIONS": str(API_CONNECTIONS),
                "HEMOTRIAGE_API_TLS_CERTIFICATE": str(certificate.file),
                "HEMOTRIAGE_API_TLS_KEY": str(certificate.key),
            },
            is_ready=lambda: answers(url, trusting(certificate)),
        )
    )
    process.start()
    try:
        process.wait_ready()
        yield url
    finally:
        process.stop()


def trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.file)


def answers(url: str, context: ssl.SSLContext) -> bool:
    try:
        return ask(url, context).status_code == 200
    except httpx.TransportError:
        return False


def ask(url: str, context: ssl.SSLContext) -> httpx.Response:
    with httpx.Client(verify=context, trust_env=False, timeout=10) as client:
        return client.get(f"{url}/healthz")


def test_the_api_speaks_tls_of_today_and_nothing_else(
    api: str, certificates: dict[str, Certificate]
) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        exactly = trusting(certificates["right"])
        exactly.minimum_version = exactly.maximum_version = version
        assert ask(api, exactly).status_code == 200, version
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        ask(api, trusting(certificates["stranger"]))
    with pytest.raises(httpx.TransportError):
        ask(api.replace("https:", "http:"), trusting(certificates["right"]))
    assert ask(api, trusting(certificates["right"])).status_code == 200, "none of it does harm"


def test_the_api_refuses_tls_of_yesterday(api: str, certificates: dict[str, Certificate]) -> None:
    old = trusting(certificates["right"])
    # OpenSSL itself offers it at this level alone.
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError, match="protocol version"):
        ask(api, old)


def test_a_silent_client_of_the_api_holds_up_nobody(
    api: str, certificates: dict[str, Certificate]
) -> None:
    address = httpx.URL(api)
    with socket.create_connection((address.host, address.port)):
        assert ask(api, trusting(certificates["right"])).status_code == 200


def test_silent_clients_in_each_place_of_the_api_lose_it(
    api: str, certificates: dict[str, Certificate]
) -> None:
    address = httpx.URL(api)
    with ExitStack() as silent:
        for _ in range(2 * API_CONNECTIONS):
            silent.enter_context(socket.create_connection((address.host, address.port)))
        eventually(lambda: answers(api, trusting(certificates["right"])))
