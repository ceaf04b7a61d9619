"""What the child of a training run tells its trainer: a JSON object a line, on a pipe."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.errors import HemotriageError, PermanentError, TransientError
from shared.trainings.states import EventKind, Told

OUTAGES = (OperationalError, InterfaceError, PoolTimeoutError)
"""What is raised where the database is away, and not where a statement is wrong."""


class ReportedError(HemotriageError):
    """Training raised an error."""


class ReportedPermanentError(PermanentError):
    """Training cannot succeed."""


class ReportedTransientError(TransientError):
    """Training met an outage."""


class Reports:
    """The child's end of the pipe. Where nobody reads any more the process ends."""

    def __init__(self, pipe: TextIO, *, attempt: int = 0) -> None:
        self._pipe = pipe
        self._attempt = attempt
        self._lines = 0

    @classmethod
    def on_stdout(cls) -> Reports:
        """Take standard output for reports; what else is printed goes to standard error."""
        pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return cls(pipe)

    def begin(self, attempt: int, device: str) -> None:
        """Say which attempt this is, and on what it trains."""
        self._attempt = attempt
        self._send(device=device)

    def progress(self, share: float, seconds_left: float | None) -> None:
        """Say how far the run is, from 0 to 1."""
        self._send(progress=share, seconds_left=seconds_left)

    def epoch(self, key: str, document: dict[str, Any]) -> None:
        """Tell an epoch's figures; they may be told again, under the same key."""
        self._tell(Told(EventKind.EPOCH, f"epoch/{key}", document))

    def log(self, text: str) -> None:
        """Tell a line of the log: ids, codes, counts and durations, no name of a file."""
        self._lines += 1
        key = f"log/{self._attempt}/{self._lines}"
        self._tell(Told(EventKind.LOG, key, {"text": text}))

    def failed(self, error: Exception) -> None:
        """Tell what was raised: of an error that is none of ours the type alone."""
        if isinstance(error, HemotriageError):
            kind = "permanent" if isinstance(error, PermanentError) else "other"
            kind = "transient" if isinstance(error, TransientError) else kind
            said = {"code": error.code, "text": str(error)}
        else:
            kind = "transient" if isinstance(error, OUTAGES) else "other"
            said = {"code": HemotriageError.code, "text": type(error).__name__}
        self._send(error={"kind": kind, **said})

    def _tell(self, told: Told) -> None:
        self._send(told=asdict(told))

    def _send(self, **report: Any) -> None:
        try:
            self._pipe.write(json.dumps(report) + "\n")
        except BrokenPipeError:
            os._exit(os.EX_IOERR)


@dataclass
class Heard:
    """The trainer's end: what was told so far, and what of it is not written yet."""

    progress: float = 0.0
    seconds_left: float | None = None
    device: str | None = None
    told: list[Told] = field(default_factory=list)
    error: HemotriageError | None = None

    def hear(self, line: bytes) -> None:
        """Take in one line of the child's."""
        report = json.loads(line)
        if "progress" in report:
            self.progress, self.seconds_left = report["progress"], report["seconds_left"]
        if "device" in report:
            self.device = report["device"]
        if "told" in report:
            told = report["told"]
            self.told.append(Told(EventKind(told["kind"]), told["key"], told["document"]))
        if "error" in report:
            self.error = _error_of(report["error"])


def _error_of(said: dict[str, str]) -> HemotriageError:
    kinds = {"permanent": ReportedPermanentError, "transient": ReportedTransientError}
    error = kinds.get(said["kind"], ReportedError)()
    error.code = said["code"]
    # The text begins with the title of the child's error, which is the one to be read.
    error.args = (said["text"],)
    return error
