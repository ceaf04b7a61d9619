"""Remembers which processes a launcher started, so that the next one can end what is left.

A process id alone is no identity, since the system gives it out again: the moment of creation is
kept beside it, and a process is ended only if both agree.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from shared.local.errors import AlreadyRunningError
from shared.local.process import LocalProcess
from shared.local.secrets import write_private

_GRACE_SECONDS = 10.0
# The system's clock is set now and then, and moments of creation move with it.
_SAME_MOMENT_SECONDS = 2.0


class RunFolder:
    """The `run/` folder of a launcher: its lock and its record of processes."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "processes.json"
        self._lock_path = folder / "lock"
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Take the folder for this launcher; the kernel frees it when the launcher is gone.

        Raises:
            AlreadyRunningError: Another launcher has it.
        """
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        handle = self._lock_path.open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            raise AlreadyRunningError(str(self._lock_path.parent.parent)) from error
        self._lock = handle

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remember(self, processes: Iterable[LocalProcess]) -> None:
        """Write down the processes that run."""
        records = [
            {
                "name": process.spec.name,
                "pid": process.pid,
                "created": process.created,
                "stop_signal": int(process.spec.stop_signal),
            }
            for process in processes
            if process.is_running()
        ]
        write_private(self._record, json.dumps(records))

    def end_leftovers(self) -> list[str]:
        """End the processes of an earlier launcher that still run; returns their names.

        Their descendants are ended too, should they outlive them.
        """
        names, found = [], []
        for record in self._recorded():
            process = find_process(record["pid"], record["created"])
            if process is not None:
                names.append(record["name"])
                found += _ask_to_stop(process, record["stop_signal"])
        _, alive = psutil.wait_procs(found, timeout=_GRACE_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_GRACE_SECONDS)
        self._record.unlink(missing_ok=True)
        return names

    def _recorded(self) -> list[dict[str, Any]]:
        try:
            records: list[dict[str, Any]] = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            # It is replaced whole, so only the machine's own end can spoil it, and then none of
            # the processes runs.
            return []
        return records


def find_process(pid: int, created: float) -> psutil.Process | None:
    """The process with this id if it is the one created at that moment."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _SAME_MOMENT_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _ask_to_stop(process: psutil.Process, stop_signal: int) -> list[psutil.Process]:
    """Ask a process to end, also if it is frozen; returns it and its descendants."""
    family = [process]
    with suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.send_signal(stop_signal)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.resume()
    return family
