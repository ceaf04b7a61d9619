"""A frame that crashes a decoder, or never ends, is refused, and nothing else is touched."""

from __future__ import annotations

import io
import logging
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from pydicom import uid

from shared.errors import HemotriageError
from shared.interop.dicom import frames
from shared.interop.dicom.decoder import process
from shared.interop.dicom.decoder.decode import Coded
from shared.interop.dicom.decoder.process import DecoderProcess, Decoders, DecoderUnavailableError
from shared.interop.dicom.errors import CorruptDicomError
from shared.interop.dicom.read import Inflation, read_instance
from shared.settings import PROJECT_ROOT, Settings
from tests import dicom
from tests.waiting import eventually

LOSSLESS = Coded(uid.JPEGLosslessSV1, rows=64, columns=64, photometric="RGB", planar=0)

UNDER_GEVENT = """
from services.api.patching import patch; patch()
import gevent, io
from gevent import get_hub
from shared.errors import HemotriageError
from shared.interop.dicom.frames import uploads_of
from shared.interop.dicom.read import Inflation, read_instance
from tests import dicom

settings = dicom.settings_without_servers()
turns = [0]

def take(data):
    get_hub()  # what makes gevent's own subprocess and os.close wait for ever in a thread
    try:
        return len(uploads_of(read_instance(io.BytesIO(data), settings, Inflation(0)), settings))
    except HemotriageError as error:
        return error.code

def turn():
    while True:
        gevent.sleep(0.01)
        turns[0] += 1

gevent.spawn(turn)
good, bad = dicom.in_syntax(dicom.uid.JPEGLosslessSV1, dicom.field()), dicom.crashing()
asked = [gevent.spawn(get_hub().threadpool.apply, take, (data,)) for data in (good, bad) * 4]
gevent.joinall(asked, timeout=60)
print(*(one.value for one in asked), turns[0] > 10)
"""


@pytest.fixture
def settings() -> Settings:
    return dicom.settings_without_servers()


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    """Children of this test alone."""
    own = Decoders()
    monkeypatch.setattr(frames, "_DECODERS", own)
    yield own
    own.close()


@pytest.fixture
def child() -> Iterator[DecoderProcess]:
    running = DecoderProcess()
    yield running
    running.end()


def children() -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process().children()
        if one.status() == psutil.STATUS_ZOMBIE or "decoder.child" in " ".join(one.cmdline())
    ]


def take(data: bytes, settings: Settings) -> np.ndarray:
    (upload,) = frames.uploads_of(read_instance(io.BytesIO(data), settings, Inflation(0)), settings)
    upload.stream.seek(0)
    return np.asarray(Image.open(upload.stream))


def code_of(data: bytes, settings: Settings) -> str:
    with pytest.raises(HemotriageError) as refused:
        take(data, settings)
    return refused.value.code


def frame_of(data: bytes) -> bytes:
    instance = read_instance(io.BytesIO(data), dicom.settings_without_servers(), Inflation(0))
    (frame,) = frames._frames(instance)
    return frame


def good() -> bytes:
    return dicom.in_syntax(uid.JPEGLosslessSV1, dicom.field())


@pytest.mark.usefixtures("decoders")
def test_a_frame_that_crashes_its_decoder_is_refused_and_the_next_is_decoded(
    settings, caplog
) -> None:
    before = take(good(), settings)
    with caplog.at_level(logging.WARNING):
        assert code_of(dicom.crashing(), settings) == "corrupt_dicom"
    assert [record.signal for record in caplog.records] == ["SIGABRT"]
    assert np.array_equal(take(good(), settings), before)
    assert np.array_equal(before, np.asarray(dicom.field()))


@pytest.mark.parametrize(
    "count", [4, pytest.param(50, marks=[pytest.mark.exhaustive, pytest.mark.slow])]
)
@pytest.mark.usefixtures("decoders")
def test_crashes_leave_nothing_behind(settings, count: int) -> None:
    assert code_of(dicom.crashing(), settings) == "corrupt_dicom"
    before, opened = children(), psutil.Process().num_fds()
    for _ in range(count):
        assert code_of(dicom.crashing(), settings) == "corrupt_dicom"
    assert children() == before
    assert psutil.Process().num_fds() <= opened, "fewer: of tests before this one"


@pytest.mark.usefixtures("decoders")
def test_a_child_is_kept_while_it_succeeds_and_replaced_once_it_failed(settings) -> None:
    known = children()
    take(good(), settings)
    (kept,) = [one for one in children() if one not in known]
    take(good(), settings)
    assert kept in children()
    cut = good()[:-2000]
    assert code_of(cut, settings) == "corrupt_dicom"
    assert kept not in children()


@pytest.mark.usefixtures("decoders")
def test_a_child_that_dies_while_it_decodes_takes_one_frame_with_it(settings) -> None:
    known = children()
    take(good(), settings)
    (kept,) = [one for one in children() if one not in known]
    kept.send_signal(signal.SIGSTOP)
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(code_of(good(), settings)))
    asking.start()
    eventually(lambda: Path(f"/proc/{kept.pid}/fd/3").stat().st_size not in (0, 64 * 64 * 3))
    kept.send_signal(signal.SIGKILL)
    asking.join(30)
    assert found == ["corrupt_dicom"]
    assert take(good(), settings).shape == (64, 64, 3)


@pytest.mark.usefixtures("decoders")
def test_a_child_that_died_while_it_waited_is_nobodys_fault(settings) -> None:
    known = children()
    take(good(), settings)
    (kept,) = [one for one in children() if one not in known]
    kept.send_signal(signal.SIGKILL)
    eventually(lambda: kept.status() == psutil.STATUS_ZOMBIE)
    assert take(good(), settings).shape == (64, 64, 3)
    assert kept not in children()


@pytest.mark.usefixtures("decoders")
def test_what_takes_too_long_is_ended(settings, caplog) -> None:
    whole = dicom.in_syntax(uid.JPEGLSLossless, dicom.field())
    half = frame_of(whole)[:3000]  # CharLS searches long for the rest
    cut = dicom.encapsulated(dicom.dataset(dicom.field()), [half], uid.JPEGLSLossless)
    with caplog.at_level(logging.WARNING):
        assert code_of(cut, settings) == "corrupt_dicom"
    assert [record.signal for record in caplog.records] == ["SIGPROF"]
    assert take(whole, settings).shape == (64, 64, 3)


def test_a_frame_gives_its_child_limits(child) -> None:
    child.decode(LOSSLESS, frame_of(good()))
    limits = {
        name: resource.prlimit(child.pid, getattr(resource, f"RLIMIT_{name}"))[0]
        for name in ("CORE", "AS", "FSIZE")
    }
    assert limits == {"CORE": 0, "AS": 512 * 1024**2 + 32 * 64 * 64, "FSIZE": 64 * 64 * 3}


def test_memory_beyond_the_limit_is_refused(child) -> None:
    frame = frame_of(dicom.in_syntax(uid.JPEGLSLossless, dicom.field()))
    at = frame.index(b"\xff\xf7") + 5
    lying = frame[:at] + b"\xea\x60\xea\x60" + frame[at + 4 :]  # 60,000 x 60,000
    with pytest.raises(CorruptDicomError):
        child.decode(Coded(uid.JPEGLSLossless, 64, 64, "RGB", 0), lying)


def test_a_child_has_no_secret_and_no_socket_of_its_parent(monkeypatch) -> None:
    monkeypatch.setenv("HEMOTRIAGE_DATABASE_URL", "postgresql://user:password@host/db")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        child = DecoderProcess()
        try:
            environment = Path(f"/proc/{child.pid}/environ").read_bytes()
            opened = [str(one.readlink()) for one in Path(f"/proc/{child.pid}/fd").iterdir()]
        finally:
            child.end()
    names = {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert names == {b"PYTHONPATH", b"OPENBLAS_NUM_THREADS"}
    assert not [name for name in opened if name.startswith("socket")]


def test_a_child_ends_with_its_parent() -> None:
    program = (
        "from shared.interop.dicom.decoder.process import DecoderProcess\n"
        "print(DecoderProcess().pid, flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=30)


def test_a_child_that_does_not_start_is_no_fault_of_the_file(monkeypatch) -> None:
    monkeypatch.setattr(process, "_CHILD", "no_such_module")
    opened = psutil.Process().num_fds()
    with pytest.raises(DecoderUnavailableError) as refused:
        DecoderProcess()
    assert refused.value.http_status == 503
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(DecoderUnavailableError):
        DecoderProcess()
    assert psutil.Process().num_fds() <= opened, "fewer: of tests before this one"


def test_under_gevent_threads_start_children_and_nobody_else_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    assert done.stdout.split() == ["1", "corrupt_dicom"] * 4 + ["True"]
