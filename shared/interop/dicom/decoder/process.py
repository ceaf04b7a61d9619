"""Decodes frames in child processes, so that a frame that crashes a decoder takes nobody with it.

A child is kept for as long as it succeeds. One that failed is replaced, whatever it failed of: what
a hostile frame left behind in it must not touch the next one.

The API works in threads under gevent, whose `subprocess` and `os.close` need the main thread. So a
child is started by `posix_spawn` itself, each descriptor is closed by its file object, and nothing
waits for a child but a read that blocks: the child's own limits end it, and with it the read.
"""

from __future__ import annotations

import json
import logging
import os
import posix
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from shared.errors import TransientError
from shared.imaging import Pixels
from shared.interop.dicom.decoder.decode import SAMPLES, Coded
from shared.interop.dicom.errors import CorruptDicomError

FILE = 3
"""The descriptor of the file in a child."""

_CHILD = "shared.interop.dicom.decoder.child"
_ROOT = Path(__file__).resolve().parents[4]
# Nothing of our own environment, which holds passwords. Threads of NumPy would take address space.
_ENVIRONMENT = {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"}
_LIMITS = (signal.SIGALRM, signal.SIGPROF)  # by which a child ends itself

_log = logging.getLogger(__name__)


class DecoderUnavailableError(TransientError):
    """The process that decodes DICOM frames does not start; send the file again."""

    code = "decoder_unavailable"


class Decoders:
    """The children of this process, one for each frame that is decoded at once.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._idle: list[DecoderProcess] = []
        # A fork has our ends of their pipes: both would read each other's images.
        os.register_at_fork(after_in_child=self._idle.clear)

    def __call__(self, coded: Coded, frame: bytes) -> Pixels:
        """Decode a frame in a child.

        Args:
            coded: What it is.
            frame: Its bytes.

        Returns:
            RGB, shape (rows, columns, 3).

        Raises:
            CorruptDicomError: The decoder refused it, crashed, or took too long or too much memory.
            DecoderUnavailableError: No child starts.
        """
        child = self._take()
        try:
            pixels = child.decode(coded, frame)
        except BaseException:
            child.end()
            raise
        self._idle.append(child)
        return pixels

    def close(self) -> None:
        """End those that wait for work."""
        while self._idle:
            self._idle.pop().end()

    def _take(self) -> DecoderProcess:
        with suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()
        return DecoderProcess()


class DecoderProcess:
    """One child.

    Frames and pixels go through a file that both have open; pipes say whose turn it is.
    """

    def __init__(self) -> None:
        """Start it.

        Raises:
            DecoderUnavailableError: It does not start.
        """
        self._status: int | None = None
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `end`
        theirs_in, self._requests = _pipe()
        self._answers, theirs_out = _pipe()
        try:
            with theirs_in, theirs_out:
                self.pid = _spawned(theirs_in, theirs_out, self._file.fileno())
        except OSError as error:
            self._close()
            raise DecoderUnavailableError from error
        if not self._has_answered():
            self.end()
            raise DecoderUnavailableError

    def is_alive(self) -> bool:
        """Whether it runs."""
        self._reap(os.WNOHANG)
        return self._status is None

    def decode(self, coded: Coded, frame: bytes) -> Pixels:
        """Decode a frame. A child of which this was an error must be ended.

        Raises:
            CorruptDicomError: As in `Decoders`.
        """
        self._file.seek(0)
        self._file.truncate()
        self._file.write(frame)
        request = json.dumps(asdict(coded)) + "\n"
        with suppress(BrokenPipeError):  # then there is no answer either
            self._requests.write(request.encode())
        if not self._has_answered():
            raise CorruptDicomError("A frame cannot be decoded.")
        self._file.seek(0)
        size = coded.rows * coded.columns * SAMPLES
        data = self._file.read(size + 1)
        if len(data) != size:
            raise CorruptDicomError("A frame has another size than its header says.")
        return np.frombuffer(data, np.uint8).reshape(coded.rows, coded.columns, SAMPLES)

    def end(self) -> None:
        """Kill it, if it runs, and close what was open to it."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            self._reap(0)
        died_of = os.WTERMSIG(self._status or 0)
        if died_of not in (0, signal.SIGKILL):
            _log.warning("a decoder died", extra={"signal": signal.Signals(died_of).name})
        self._close()

    def _has_answered(self) -> bool:
        """Wait until it says that it is our turn; False where it is gone instead."""
        return self._answers.read(1) == b"\1"

    def _reap(self, options: int) -> None:
        if self._status is not None:
            return
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # somebody waits for every child of this process
            self._status = 0
        else:
            self._status = status if pid else None

    def _close(self) -> None:
        for stream in (self._requests, self._answers, self._file):
            stream.close()


def _pipe() -> tuple[FileIO, FileIO]:
    """The end of a pipe that is read, and the one that is written."""
    reader, writer = os.pipe()
    return FileIO(reader, "rb"), FileIO(writer, "wb")


def _spawned(requests: FileIO, answers: FileIO, file: int) -> int:
    """The id of a child. What else is open here and can be inherited, it closes by itself."""
    return posix.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", _CHILD],
        _ENVIRONMENT,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, requests.fileno(), 0),
            (os.POSIX_SPAWN_DUP2, answers.fileno(), 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, file, FILE),
        ],
        setsigmask=(),
        setsigdef=_LIMITS,
    )
