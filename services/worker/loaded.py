"""The models that a process has loaded: once each, those used last kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from shared.models.predictor import Predictor

AnyPredictor = TypeVar("AnyPredictor", bound=Predictor)
_Key = tuple[str, int]


class LoadedModels(Generic[AnyPredictor]):
    """Gives the predictor of a model version, loading it at its first use; safe between threads."""

    def __init__(self, load: Callable[[str, int], AnyPredictor], *, most: int) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            load: Loads the version of a name and a number.
            most: As many are kept, those used last. What runs keeps its own until it has ended, and
                others that ask for the version are given the same: none is here twice.
        """
        self._load = load
        self._most = most
        self._kept: OrderedDict[_Key, AnyPredictor] = OrderedDict()
        self._alive: WeakValueDictionary[_Key, AnyPredictor] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def predictor(self, name: str, version: int) -> AnyPredictor:
        """The predictor of one version, or whatever `load` raises.

        While one is loaded, those that are there are given all the same.
        """
        key = (name, version)
        if (found := self._used(key)) is not None:
            return found
        with self._loading:
            if (found := self._used(key)) is not None:
                return found
            self._make_room()
            loaded = self._load(name, version)
            with self._lock:
                self._keep(key, loaded)
            return loaded

    def _used(self, key: _Key) -> AnyPredictor | None:
        with self._lock:
            found = self._alive.get(key)
            if found is not None:
                self._keep(key, found)
            return found

    def _make_room(self) -> None:
        """Let go before a load, and outside the lock, for an engine takes a while to end.

        A load that fails leaves a place free: memory is what the bound is for.
        """
        with self._lock:
            over = len(self._kept) - self._most + 1
            oldest = [self._kept.popitem(last=False) for _ in range(over)]
        del oldest

    def _keep(self, key: _Key, predictor: AnyPredictor) -> None:
        self._alive[key] = self._kept[key] = predictor
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
