"""From the claim of an explanation to its picture: load, decode, explain, store."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.worker.loaded import LoadedModels
from services.worker.patience import Patience
from shared.decoding_places import decoding_places
from shared.explanations.explain import explain
from shared.explanations.method import Progress
from shared.explanations.states import ExplanationClaim
from shared.imaging import Pixels
from shared.imaging.decode import decode_image
from shared.models.engines import OnBegun
from shared.models.gradcam import Labels
from shared.models.precision import FULL
from shared.models.prediction import Prediction
from shared.models.predictor import Predictor
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage import ObjectStore, explanation_key

_MOST_MODELS = 2
_PNG = "image/png"


class SharedPredictor(Predictor):
    """A predictor that several threads ask in turn.

    The turn is over with each call: LIME, which asks hundreds of times, does not keep Grad-CAM
    waiting for its end.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = threading.Lock()

    def predict(self, images: Pixels, on_begun: OnBegun = None) -> Prediction:
        """See `Predictor.predict`."""
        with self._turn:
            return super().predict(images, on_begun)

    def grad_cam(self, images: Pixels, labels: Labels) -> NDArray[np.float32]:
        """See `Predictor.grad_cam`."""
        with self._turn:
            return super().grad_cam(images, labels)


class ExplainableModels:
    """The models of an explainer, in float32 and with their maps; those used last are kept."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, *, most: int = _MOST_MODELS
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._models = LoadedModels(self._load, most=most)

    def predictor(self, name: str, version: int) -> SharedPredictor:
        """The predictor of one version; see `LoadedModels`.

        Raises:
            UnknownModelError: This explainer does not have the version.
            ModelArtefactError: Its artefact is missing or altered.
        """
        return self._models.predictor(name, version)

    def _load(self, name: str, version: int) -> SharedPredictor:
        found = self._catalogue.fetch(name, version)
        return SharedPredictor.load_in(FULL, found, self._settings, maps=True)


@dataclass(frozen=True)
class Stored:
    """An explanation whose picture is in the object store."""

    document: dict[str, Any]
    png_sha256: str


class Explain:
    """Makes explanations; safe to share between threads."""

    def __init__(
        self,
        storage: ObjectStore,
        models: ExplainableModels,
        patience: Patience,
        *,
        max_pixels: int,
    ) -> None:
        self._storage = storage
        self._models = models
        self._patience = patience
        self._max_pixels = max_pixels
        self._decoding_places = decoding_places(max_pixels)

    def __call__(self, held: ExplanationClaim, progress: Progress) -> Stored:
        """Make a claimed explanation and store its picture.

        What is explained is the label that the result names, whatever the model says in float32.

        Args:
            held: The claim.
            progress: Told how far it is, between 0 and 1; what it raises ends the work.

        Raises:
            PermanentError: It cannot be made.
            TransientError: Something that it needs is not there now.
        """
        label = held.label
        data = self._patience(lambda: self._storage.get(held.object_key))
        progress(0.0)
        with self._decoding_places:
            image = decode_image(io.BytesIO(data), max_pixels=self._max_pixels).image
        progress(0.0)
        predictor = self._models.predictor(held.model_name, held.model_version)
        progress(0.0)
        made = explain(
            predictor,
            image,
            held.subject.method,
            label,
            seed=int(held.image_sha256[:8], 16),
            progress=progress,
        )
        subject = held.subject
        sha256 = hashlib.sha256(made.png).hexdigest()
        key = explanation_key(subject.job_id, subject.image_index, subject.method, sha256)
        self._patience(lambda: self._storage.put(key, io.BytesIO(made.png), len(made.png), _PNG))
        return Stored(made.document, sha256)
