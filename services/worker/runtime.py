"""The models of a worker: warmed up, and those of a new champion loaded before its jobs come."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from services.worker.loaded import LoadedModels
from shared.errors import TransientError, UnknownModelError
from shared.models.predictor import Predictor
from shared.outage import is_outage
from shared.registry.catalogue import Catalogue
from shared.settings import InferenceSettings

_log = logging.getLogger(__name__)

FOLLOW_SECONDS = 2.0
"""How often a worker looks which version is champion."""

_MOST_MODELS = 4


class Runtime:
    """Gives the predictor of a model version, loading it at its first use."""

    def __init__(
        self, settings: InferenceSettings, catalogue: Catalogue, *, most: int = _MOST_MODELS
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            settings: Engine and precision.
            catalogue: Has the versions.
            most: As many are kept, those used last.
        """
        self._settings = settings
        self._catalogue = catalogue
        self._models = LoadedModels(self._load, most=most)

    def predictor(self, name: str, version: int) -> Predictor:
        """The predictor of one version; see `LoadedModels`.

        Raises:
            UnknownModelError: There is no such version.
            ModelArtefactError: Its artefact is missing or altered.
            TransientError: It is not here yet, and what it comes from does not answer.
        """
        return self._models.predictor(name, version)

    def warm_up(self) -> None:
        """Load whatever new jobs may name that name no version: champion, and canary.

        Where there is no champion, or nobody can be asked, nothing is loaded. A canary that cannot
        be loaded keeps no worker from the champion.

        Raises:
            ModelArtefactError: The champion's artefact is missing or altered.
        """
        try:
            champion = self._catalogue.resolve("champion")
            self.predictor(champion.name, champion.version)
        except (UnknownModelError, TransientError) as error:
            _log.warning("no champion is loaded", extra={"error": error.code})
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            _log.warning("no champion is loaded", extra={"error": type(error).__name__})
        else:
            self._warm_up_canary()

    def _warm_up_canary(self) -> None:
        challenger = self._catalogue.challenger()
        if challenger is None or not challenger.canary_percent:
            return
        try:
            self.predictor(challenger.name, challenger.version)
        except Exception:  # its own jobs will tell
            _log.exception("no canary is loaded")

    def follow(self, stopping: threading.Event) -> None:
        """Load each new champion within seconds, so that no job waits for it; returns at once."""
        threading.Thread(target=self._follow, args=(stopping,), name="follow", daemon=True).start()

    def _follow(self, stopping: threading.Event) -> None:
        while not stopping.wait(FOLLOW_SECONDS):
            try:
                self.warm_up()
            except Exception:  # the thread must outlive whatever it meets; its jobs will tell
                _log.exception("no champion is loaded")

    def _load(self, name: str, version: int) -> Predictor:
        return Predictor.load(self._catalogue.fetch(name, version), self._settings)
