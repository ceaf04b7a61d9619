"""One child process: started, asked whether it is ready, stopped."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from shared.local.errors import LocalServiceError
from shared.parent import dying_with_parent

_POLL_SECONDS = 0.02
_TAIL_BYTES = 2000


@dataclass(frozen=True)
class ProcessSpec:
    """How to run a process.

    `is_ready` may be called often; it must not raise. `prepare` is called before every start.
    """

    name: str
    command: Sequence[str]
    log: Path
    is_ready: Callable[[], bool] = lambda: True
    prepare: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 15.0
    start_seconds: float = 60.0


class LocalProcess:
    """A process of its own session. Start it from the main thread: its life is bound to that."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; raises LocalServiceError where the process was never started."""
        if self._process is None:
            raise LocalServiceError(f"{self.spec.name} was not started.")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended, a signal as a negative number; None while it runs."""
        return None if self.is_running() or self._process is None else self._process.returncode

    @property
    def created(self) -> float:
        """When the process was created, in seconds since the epoch; tells reused ids apart."""
        return psutil.Process(self.pid).create_time()

    def is_running(self) -> bool:
        """Whether the process was started and has not ended; one that died is cleared away."""
        if self._process is None or self._process.returncode is not None:
            return False
        if psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE:
            return True
        # What it left in its group would hold ports and jobs. This comes before the process is
        # waited for: until then, its id cannot be the group of a stranger.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return False

    def start(self) -> None:
        """Start the process; returns at once."""
        spec = self.spec
        spec.prepare()
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command lines
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.environment},
                cwd=spec.cwd,
                start_new_session=True,
                # What escapes it, the next start ends.
                preexec_fn=dying_with_parent(spec.stop_signal),  # noqa: PLW1509
                **identity(spec.user),
            )

    def wait_ready(self) -> None:
        """Wait until the process answers.

        Raises:
            LocalServiceError: It ended, or did not answer in time; the end of its log is told.
        """
        deadline = time.monotonic() + self.spec.start_seconds
        while True:
            ready = self.spec.is_ready()
            # Asked second: what answered may be another process on the same port.
            if not self.is_running():
                raise LocalServiceError(f"{self.spec.name} ended at once. {self._log_tail()}")
            if ready:
                return
            if time.monotonic() > deadline:
                raise LocalServiceError(f"{self.spec.name} does not answer. {self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask the process to end; kill its group when the grace period is over."""
        self.ask_to_stop()
        self.wait_stopped()

    def restart(self) -> None:
        """Stop the process and start it again; returns when it answers.

        Raises:
            LocalServiceError: It does not come up again.
        """
        self.stop()
        self.start()
        self.wait_ready()

    def ask_to_stop(self) -> None:
        """Send the stop signal, to a frozen process too; returns at once."""
        if self.is_running():
            os.kill(self.pid, self.spec.stop_signal)
            self.resume()

    def wait_stopped(self) -> None:
        """Wait for the end that was asked for, and enforce it when the grace period is over."""
        deadline = time.monotonic() + self.spec.grace_seconds
        while self.is_running():
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """Kill the process and its group at once, as a crash would."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Freeze the process and its descendants."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process and its descendants go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal the process first, then its descendants: PostgreSQL's have groups of their own."""
        if not self.is_running():
            return
        leader = psutil.Process(self.pid)
        leader.send_signal(number)
        for descendant in leader.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                descendant.send_signal(number)

    def _log_tail(self) -> str:
        if not self.spec.log.is_file():
            return ""
        tail = self.spec.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        return f"The end of {self.spec.log}: {tail}"


def identity(user: str | None) -> dict[str, Any]:
    """The arguments of `subprocess.Popen` that make a child this user's, in no group of ours."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
