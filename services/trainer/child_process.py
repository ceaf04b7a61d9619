"""The trainer's side of the process that trains one run."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from shared.errors import HemotriageError

_CHILD = "services.trainer.child"
_CHUNK = 64 * 1024
_END_SECONDS = 60.0


class TrainingCrashedError(HemotriageError):
    """The process that trained crashed."""

    code = "training_crashed"


class TrainingChild:
    """Trains one run in a session of its own. Start it from the main thread: see `child.py`."""

    def __init__(self, run_id: uuid.UUID, folder: Path, lock: int) -> None:
        """Start it.

        Args:
            run_id: The run.
            folder: Of the run; what the child prints goes to `child.log` in it.
            lock: The open file that holds the device, for the child to hold too.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "child.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", _CHILD, str(run_id)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
                bufsize=0,
            )
        assert self._process.stdout is not None  # noqa: S101
        self._pipe = self._process.stdout.fileno()
        self._rest = b""
        self.is_silent = False
        """Whether it has closed its pipe, after which there is nothing more to hear."""

    def lines(self, seconds: float) -> list[bytes]:
        """Whole lines that it has written since the last call; waits so long for the first."""
        ready, _, _ = select.select([self._pipe], [], [], seconds)
        if not ready:
            return []
        read = os.read(self._pipe, _CHUNK)
        self.is_silent = not read
        *whole, self._rest = (self._rest + read).split(b"\n")
        return whole

    def end(self) -> None:
        """Kill it and what it started, if it runs; its last checkpoint stays."""
        # The group is killed before the process is waited for: until then its id is no stranger's.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def exit_code(self) -> int:
        """Its exit code, a signal as a negative number; asked once it is silent."""
        return self._process.wait(_END_SECONDS)

    def cause_of_death(self) -> TrainingCrashedError:
        """How it ended without a word."""
        code = self.exit_code()
        return TrainingCrashedError(
            f"{signal.Signals(-code).name}." if code < 0 else f"Exit code {code}."
        )
