"""The receiver of the documentation runs where nothing of this project is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from shared.local.ports import HOST, free_ports
from shared.settings import PROJECT_ROOT
from shared.webhooks.signature import key_of, new_secret, sign
from tests.receiver import SECRET
from tests.waiting import eventually

DOCS = PROJECT_ROOT / "docs"
EXAMPLE = DOCS / "examples" / "webhook_receiver.py"
BODY = b'{"type":"job.succeeded"}'


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "events.txt"


@pytest.fixture
def url(tmp_path: Path, told: Path) -> Iterator[str]:
    """The example as an integrator runs it: the standard library is all that it can import."""
    (port,) = free_ports(1)
    shutil.copy(EXAMPLE, tmp_path)
    with told.open("wb") as events:
        running = subprocess.Popen(
            [sys.executable, "-I", "-S", EXAMPLE.name, str(port)],
            cwd=tmp_path,
            env={"HEMOTRIAGE_WEBHOOK_SECRET": SECRET, "PYTHONPATH": ""},
            stdout=events,
        )
        try:
            eventually(lambda: running.poll() is not None or answers(f"http://{HOST}:{port}"))
            assert running.poll() is None, "it did not start"
            yield f"http://{HOST}:{port}/hook"
        finally:
            running.kill()
            running.wait()


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code == 501
    return False


def posted(url: str, headers: dict[str, str], body: bytes = BODY) -> int:
    return httpx.post(url, headers=headers, content=body, trust_env=False).status_code


def test_it_takes_what_is_genuine_and_nothing_else(url: str, told: Path) -> None:
    now = int(time.time())
    good = sign(key_of(SECRET), "event-1", now, BODY)
    assert posted(url, good) == 204
    forged = sign(key_of(new_secret()), "event-2", now, BODY)
    old = sign(key_of(SECRET), "event-3", now - 3600, BODY)
    for headers in (forged, old, {}, {**good, "webhook-timestamp": "now"}):
        assert posted(url, headers) == 401
    assert posted(url, good, BODY + b" ") == 401
    assert told.read_bytes() == b"event-1 " + BODY + b"\n"


def test_it_verifies_as_the_page_on_webhooks_says() -> None:
    text = (DOCS / "integration.md").read_text()
    (shown,) = re.findall(r"```python\n.*?\n(def is_genuine.*?)```", text, re.DOTALL)
    assert shown in EXAMPLE.read_text()
