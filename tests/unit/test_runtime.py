"""A worker's models: those used last are kept, and no version is loaded beside itself."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from services.worker.runtime import Runtime
from shared.models.predictor import Predictor
from shared.settings import InferenceSettings


class Loaded:
    """Stands for a loaded version."""


class Loads:
    """Stands for `Predictor.load`; counts the versions that it loads, and knows what lives."""

    def __init__(self) -> None:
        self.count: Counter[int] = Counter()
        self.alive: weakref.WeakSet[Loaded] = weakref.WeakSet()

    def __call__(self, version: int, settings: InferenceSettings) -> Loaded:
        loaded = Loaded()
        self.count[version] += 1
        self.alive.add(loaded)
        return loaded


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    loads = Loads()
    monkeypatch.setattr(Predictor, "load", loads)
    return loads


def runtime(*, most: int) -> Runtime:
    catalogue: Any = SimpleNamespace(fetch=lambda _name, version: version)
    return Runtime(InferenceSettings(), catalogue, most=most)


def test_a_version_that_is_let_go_while_it_runs_is_given_to_the_next_job_too(loads: Loads) -> None:
    models = runtime(most=2)
    running = models.predictor("m", 1)
    models.predictor("m", 2)
    models.predictor("m", 3)
    assert models.predictor("m", 1) is running
    models.predictor("m", 3)
    del running
    assert models.predictor("m", 1) is not None
    assert loads.count == {1: 1, 2: 1, 3: 1}, "the first is one of those kept again"
    models.predictor("m", 2)
    assert loads.count == {1: 1, 2: 2, 3: 1}
    assert len(loads.alive) == 2


def test_jobs_of_more_versions_than_are_kept_run_on_one_copy_of_each(loads: Loads) -> None:
    models, versions, threads = runtime(most=4), 6, 12
    all_hold = threading.Barrier(threads, timeout=30)

    def job(number: int) -> None:
        held = models.predictor("m", number % versions)
        all_hold.wait()
        assert models.predictor("m", number % versions) is held
        all_hold.wait()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(job, range(threads)))
    assert loads.count == dict.fromkeys(range(versions), 1)
    assert len(loads.alive) == 4, "what nobody holds goes"
