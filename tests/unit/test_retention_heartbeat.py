"""Whoever looks at the retention process sees it turn, also while it erases."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any, cast

import pytest

from shared.retention import erase, watch
from shared.settings import Settings


def test_an_erasure_that_removes_many_objects_beats_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would be killed as hanging, and its SIGTERM would wait for the last object."""
    beats: list[str] = []
    stop = threading.Event()

    def remove_due(*_: object, turned: Callable[[], object] = lambda: None) -> int:
        stop.set()
        turned()
        raise AssertionError("it goes on")

    monkeypatch.setattr(watch, "beat", beats.append)
    monkeypatch.setattr(erase, "oldest_queued", lambda _: uuid.UUID(int=1))
    monkeypatch.setattr(erase, "alone", lambda _: None)
    monkeypatch.setattr(erase, "remove_due", remove_due)
    settings = Settings.model_construct(orphan_grace_seconds=1)
    watch.watch(settings, cast("Any", _NoDatabase()), cast("Any", None), stop)
    assert beats == [watch.HEARTBEAT] * 2


class _NoDatabase:
    """Sessions in which there is nothing."""

    def begin(self) -> _NoDatabase:
        return self

    def __enter__(self) -> _NoDatabase:
        return self

    def __exit__(self, *_: object) -> None: ...

    def get(self, *_: object, **__: object) -> None: ...
