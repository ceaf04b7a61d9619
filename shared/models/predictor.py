"""A loaded model with its calibration: pixels in, calibrated probabilities out.

Worker, command line and evaluation all predict here, so that they cannot differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.models.engines import Engine, create_engine, supported_precisions
from shared.models.precision import Precision, choose_precision
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings
from shared.triage.calibration import apply_temperature
from shared.triage.result import ModelReference


@dataclass(frozen=True)
class Prediction:
    """Probabilities of a batch, each of shape (n, 4)."""

    raw: NDArray[np.float32]
    calibrated: NDArray[np.float64]


class Predictor:
    """One model version in one engine; an ensemble's engine runs its members."""

    def __init__(
        self, version: ModelVersion, engine: Engine, *, temperature: float, batch_size: int
    ) -> None:
        self._version = version
        self._engine = engine
        self._temperature = temperature
        self._batch_size = batch_size

    @classmethod
    def load(cls, version: ModelVersion, settings: InferenceSettings) -> Predictor:
        """Load and warm up a version in the engine and the precision that the settings name.

        Raises:
            ModelArtefactError: The artefact is missing or altered.
            PrecisionRefusedError: The version may not run in that precision.
            UnknownModelError: A member of the ensemble is not there.
        """
        precision = choose_precision(version, settings, supported_precisions(settings.engine))
        return cls.load_in(precision, version, settings)

    @classmethod
    def load_in(
        cls, precision: Precision, version: ModelVersion, settings: InferenceSettings
    ) -> Predictor:
        """The same in a given precision, whatever its verdict: for the gate that gives one.

        Of an ensemble, which has a verdict of its own, all members run in it.
        """
        members = [(cls.load_in(precision, m.version, settings), m.weight) for m in version.members]
        return cls(
            version,
            Ensemble(members) if members else create_engine(version, settings, precision),
            temperature=version.temperature,
            batch_size=settings.batch_size,
        )

    def calibrated_by(self, temperature: float) -> Predictor:
        """The same loaded model with another calibration temperature."""
        return Predictor(
            self._version, self._engine, temperature=temperature, batch_size=self._batch_size
        )

    @property
    def precision(self) -> Precision:
        """What the convolutions compute in."""
        return self._engine.precision

    @property
    def reference(self) -> ModelReference:
        """What a result says of this model."""
        return ModelReference(
            name=self._version.name,
            version=self._version.version,
            sha256=self._engine.artefact_sha256,
            engine=self._engine.name,
            precision=self._engine.precision,
        )

    @property
    def references(self) -> list[ModelReference]:
        """This model, then, for an ensemble, its members."""
        engine = self._engine
        members = engine.members if isinstance(engine, Ensemble) else []
        return [self.reference, *(member.reference for member, _ in members)]

    def predict(self, images: Pixels) -> Prediction:
        """Predict any number of images, shape (n, 224, 224, 3), in batches of bounded size."""
        step = self._batch_size
        raw = np.concatenate(
            [self._engine.predict(images[i : i + step]) for i in range(0, len(images), step)]
        )
        return Prediction(raw, apply_temperature(raw, self._temperature))


class Ensemble:
    """An engine that gives the weighted mean of its members' calibrated probabilities."""

    def __init__(self, members: Sequence[tuple[Predictor, float]]) -> None:
        self.members = list(members)
        references = [member.reference for member, _ in members]
        self.name = references[0].engine
        self.precision = members[0][0].precision
        self._weights = np.array([weight for _, weight in members])
        self._weights /= self._weights.sum()
        parts = [
            f"{reference.sha256} {weight!r}"
            for reference, weight in zip(references, self._weights.tolist(), strict=True)
        ]
        self.artefact_sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def predict(self, images: Pixels) -> NDArray[np.float32]:
        """See `Engine.predict`."""
        rows = np.stack([member.predict(images).calibrated for member, _ in self.members])
        mean: NDArray[np.float32] = np.tensordot(self._weights, rows, axes=1).astype(np.float32)
        return mean
