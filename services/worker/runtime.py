"""The models of a worker: loaded once each, warmed up, those used last kept."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from sqlalchemy.exc import SQLAlchemyError

from shared.errors import HemotriageError, TransientError
from shared.models.predictor import Predictor
from shared.outage import is_outage
from shared.registry.catalogue import Catalogue
from shared.registry.states import NoChampionError
from shared.settings import InferenceSettings

_log = logging.getLogger(__name__)

FOLLOW_SECONDS = 2.0
"""How often a worker looks which version is champion."""

_MOST_MODELS = 4


class VersionUnreachableError(TransientError):
    """Where the model version is described cannot be asked."""

    code = "database_unavailable"


class Runtime:
    """Gives the predictor of a model version, loading it at its first use."""

    def __init__(
        self, settings: InferenceSettings, catalogue: Catalogue, *, most: int = _MOST_MODELS
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            settings: Engine and precision.
            catalogue: Has the versions.
            most: As many are kept, those used last. What runs keeps its own until it has ended.
        """
        self._settings = settings
        self._catalogue = catalogue
        self._most = most
        self._predictors: OrderedDict[tuple[str, int], Predictor] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def predictor(self, name: str, version: int) -> Predictor:
        """The predictor of one version.

        While one is loaded, those that are there are given all the same.

        Raises:
            UnknownModelError: There is no such version.
            ModelArtefactError: Its artefact is missing or altered.
            TransientError: It is not here yet, and what it comes from does not answer.
        """
        key = (name, version)
        if (found := self._used(key)) is not None:
            return found
        with self._loading:
            if (found := self._used(key)) is not None:
                return found
            loaded = self._load(name, version)
            with self._lock:
                while len(self._predictors) >= self._most:
                    self._predictors.popitem(last=False)
                self._predictors[key] = loaded
            return loaded

    def warm_up(self) -> None:
        """Load whatever new jobs may name that name no version: champion, and canary.

        Without a champion there is nothing to load.
        """
        challenger = self._catalogue.challenger()
        if challenger is not None and challenger.canary_percent:
            self.predictor(challenger.name, challenger.version)
        try:
            champion = self._catalogue.resolve("champion")
        except NoChampionError:
            _log.warning("no champion")
        else:
            self.predictor(champion.name, champion.version)

    def follow(self, stopping: threading.Event) -> None:
        """Load each new champion within seconds, so that no job waits for it; returns at once."""
        threading.Thread(target=self._follow, args=(stopping,), name="follow", daemon=True).start()

    def _follow(self, stopping: threading.Event) -> None:
        while not stopping.wait(FOLLOW_SECONDS):
            try:
                self.warm_up()
            except (HemotriageError, SQLAlchemyError) as error:  # its jobs will tell what it is
                _log.warning("no champion is loaded", extra={"error": type(error).__name__})
            except Exception:  # the thread must outlive whatever it meets
                _log.exception("no champion is loaded")

    def _used(self, key: tuple[str, int]) -> Predictor | None:
        with self._lock:
            if key in self._predictors:
                self._predictors.move_to_end(key)
            return self._predictors.get(key)

    def _load(self, name: str, version: int) -> Predictor:
        try:
            found = self._catalogue.fetch(name, version)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            raise VersionUnreachableError from error
        return Predictor.load(found, self._settings)
