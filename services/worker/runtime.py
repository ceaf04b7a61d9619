"""The models of a worker: loaded once each, warmed up, kept."""

from __future__ import annotations

import threading

from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings


class Runtime:
    """Gives the predictor of a model version, loading it at its first use."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._registry = ModelRegistry(settings.models_dir)
        self._predictors: dict[tuple[str, int], Predictor] = {}
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Load the champion, so that the first job does not wait for it."""
        champion = self._registry.resolve("champion")
        self.predictor(champion.name, champion.version)

    def predictor(self, name: str, version: int) -> Predictor:
        """The predictor of one version.

        Raises:
            UnknownModelError: This worker does not have the version.
            ModelArtefactError: Its artefact is missing or altered.
        """
        with self._lock:
            key = (name, version)
            if key not in self._predictors:
                found = self._registry.get(name, version)
                self._predictors[key] = Predictor.load(found, self._settings)
            return self._predictors[key]
