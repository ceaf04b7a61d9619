"""One attempt at a gate: from its claim to the report."""

from __future__ import annotations

from typing import Any

from services.trainer.change_control import Judged, judge
from services.trainer.dataset import Dataset, read_dataset
from services.trainer.dataset_store import DatasetDamagedError, fetch_dataset
from services.trainer.evaluate import read_part
from services.trainer.folders import DATASETS
from services.trainer.measuring import CarryOn
from services.trainer.unseen import exposure_of
from shared.datasets.queries import get_dataset
from shared.datasets.states import DatasetVersion
from shared.db.session import Sessions
from shared.models.predictor import Predictor
from shared.registry.catalogue import Catalogue
from shared.registry.policy import read_policy
from shared.registry.states import GateClaim
from shared.settings import Settings
from shared.storage import ObjectStore


class Judging:
    """Judges versions by what is in the database and the object store."""

    def __init__(self, settings: Settings, sessions: Sessions, storage: ObjectStore) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._catalogue = Catalogue(settings, sessions, storage)

    def __call__(self, held: GateClaim, carry_on: CarryOn) -> dict[str, Any]:
        """Judge a version against the champion that its gate names, whoever is champion now.

        Args:
            held: The claim.
            carry_on: Called between steps; what it raises ends it.

        Returns:
            The report.

        Raises:
            PolicyInvalidError: The policy cannot be read.
            ModelArtefactError: An artefact of a version is missing or altered.
            UnknownModelError: A version is not there.
            DatasetError: An image of the test set cannot be used, or is another one.
            ObjectMissingError: One is gone.
            StorageUnavailableError: The object store does not answer.
        """
        policy = read_policy(self._settings.change_control_policy)
        test_set = get_dataset(self._sessions, held.dataset_id)
        part = read_part(self._images(test_set))
        carry_on()
        candidate = self._judged(f"{held.name}@{held.version}", test_set)
        carry_on()
        champion = None if held.champion is None else self._judged(held.champion, test_set)
        carry_on()
        return judge(candidate, champion, part, policy, test_set=test_set, carry_on=carry_on)

    def _images(self, test_set: DatasetVersion) -> Dataset:
        folder = self._settings.trainer_work / DATASETS
        dataset = read_dataset(fetch_dataset(self._storage, self._sessions, test_set.id, folder))
        if dataset.version != test_set.version:  # of files that were fetched a while ago
            raise DatasetDamagedError("In the trainer's folder.")
        return dataset

    def _judged(self, reference: str, test_set: DatasetVersion) -> Judged:
        found = self._catalogue.resolve(reference)
        version = self._catalogue.fetch(found.name, found.version)
        predictor = Predictor.load(version, self._settings)
        exposure = exposure_of(version, test_set, self._sessions, self._catalogue.resolve)
        return Judged(version, predictor, exposure)
