"""Judges versions that wait for their gate, one after the other, until the trainer stops."""

from __future__ import annotations

import importlib
import logging
import threading
from functools import cached_property
from typing import Any

from services.trainer.leased import CarryOn, Line, run_line
from shared.db.listen import LOOK_SECONDS
from shared.db.session import Sessions
from shared.registry import gate_claim as queue
from shared.registry.states import GateClaim
from shared.settings import Settings
from shared.storage import ObjectStore

_JUDGING = "services.trainer.judging"

_log = logging.getLogger(__name__)


def run_gates(
    settings: Settings,
    sessions: Sessions,
    storage: ObjectStore,
    stop: threading.Event,
    *,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Take what waits for a gate, and whatever comes, until `stop` is set.

    Args:
        settings: The policy, the engine, the lease and the trainer's folder.
        sessions: The database; two connections are used at once.
        storage: The object store.
        stop: Ends it; see `run_line`.
        look_seconds: How often it looks whether anything waits.
    """
    gates = _Gates(settings, sessions, storage)
    run_line(
        Line("gates", "gate", queue, gates.do), settings, sessions, stop, look_seconds=look_seconds
    )


class _Gates:
    """What is done with a gate."""

    def __init__(self, settings: Settings, sessions: Sessions, storage: ObjectStore) -> None:
        self._needed = settings, sessions, storage

    def do(self, held: GateClaim, carry_on: CarryOn) -> dict[str, Any]:
        """Judge a version."""
        report: dict[str, Any] = self._judging(held, carry_on)
        verdict = "passed" if report["passed"] else "refused"
        _log.info(
            "judged", extra={"gate": str(held.id), "model": report["candidate"], "verdict": verdict}
        )
        return report

    @cached_property
    def _judging(self) -> Any:
        # It loads an engine, which a trainer that judges nothing does without.
        return importlib.import_module(_JUDGING).Judging(*self._needed)
