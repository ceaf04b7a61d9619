"""A loaded model with its calibration: pixels in, calibrated probabilities out.

Worker, command line and evaluation all predict here, so that they cannot differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.models.cases import Cases, Distances
from shared.models.engines import OnBegun, create_engine, supported_precisions
from shared.models.gradcam import Labels, enlarge, grad_cam, scaled
from shared.models.likeness import Likeness
from shared.models.precision import Precision, choose_precision
from shared.models.prediction import Prediction
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings
from shared.triage.result import ModelReference


class Predictor:
    """One model version: a network in an engine, or an ensemble of other predictors."""

    def __init__(
        self, version: ModelVersion, source: Network | Ensemble, *, batch_size: int
    ) -> None:
        self._version = version
        self._source = source
        self._calibration = version.calibration
        self._conformal = version.conformal
        self._likeness = Likeness.of(version)
        self._cases = source.cases if isinstance(source, Ensemble) else Cases.of(version)
        self._batch_size = batch_size

    @classmethod
    def load(cls, version: ModelVersion, settings: InferenceSettings) -> Self:
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
        cls,
        precision: Precision,
        version: ModelVersion,
        settings: InferenceSettings,
        *,
        maps: bool = False,
    ) -> Self:
        """The same in a given precision, whatever its verdict: for the gate that gives one.

        Of an ensemble, which has a verdict of its own, all members run in it.

        Args:
            precision: What its convolutions compute in.
            version: The version.
            settings: The engine and its threads.
            maps: Whether `grad_cam` will be asked; in float32 alone.
        """
        members = [
            (cls.load_in(precision, member.version, settings, maps=maps), member.weight)
            for member in version.members
        ]
        source = Ensemble(members) if members else Network(version, settings, precision, maps=maps)
        return cls(version, source, batch_size=settings.batch_size)

    @property
    def precision(self) -> Precision:
        """What the convolutions compute in."""
        return self._source.precision

    @property
    def cases(self) -> Cases | None:
        """The training images that its results may name."""
        return self._cases

    @cached_property
    def reference(self) -> ModelReference:
        """What a result says of this model."""
        return ModelReference(
            name=self._version.name,
            version=self._version.version,
            sha256=self._source.sha256,
            engine=self._source.engine,
            precision=self._source.precision,
            label_set_coverage=None if self._conformal is None else self._conformal.coverage,
        )

    @cached_property
    def members(self) -> list[ModelReference]:
        """Those of an ensemble, in the order of its opinions."""
        source = self._source
        return [m.reference for m, _ in source.members] if isinstance(source, Ensemble) else []

    @property
    def references(self) -> list[ModelReference]:
        """This model, then, for an ensemble, its members."""
        return [self.reference, *self.members]

    @property
    def build(self) -> str:
        """Version of the engine, and what it computes on."""
        return self._source.build

    @cached_property
    def settings_sha256(self) -> dict[str, str]:
        """What decides besides the networks, by `NAME@VERSION`: its own, then its members'."""
        source = self._source
        members = [m for m, _ in source.members] if isinstance(source, Ensemble) else []
        of_members = {name: sha for m in members for name, sha in m.settings_sha256.items()}
        return {str(self._version): self._version.settings_sha256, **of_members}

    def predict(self, images: Pixels, on_begun: OnBegun = None) -> Prediction:
        """Predict any number of images, shape (n, 224, 224, 3), in batches of bounded size.

        It may be called from one thread at a time, and from another once `on_begun` was called,
        see `shared.models.engines.OnBegun`.
        """
        *firsts, last = range(0, max(len(images), 1), self._batch_size)
        parts = [self._predict(images[i : i + self._batch_size]) for i in firsts]
        return Prediction.joined([*parts, self._predict(images[last:], on_begun)])

    def grad_cam(self, images: Pixels, labels: Labels) -> NDArray[np.float32]:
        """Where the evidence for a class lies in each image.

        What it says of the corner of the scale bar is kept, though no pixel of it was seen.

        Args:
            images: Shape (n, 224, 224, 3).
            labels: Index of the class to explain of each, shape (n,).

        Returns:
            Shape (n, 224, 224), within [0, 1]: each image's largest value is 1, or all are 0. Of an
            ensemble the weighted mean of its members' maps, scaled so again.

        Raises:
            ValueError: The predictor was not loaded with maps.
        """
        step = self._batch_size
        starts = range(0, len(images), step)
        return np.concatenate(
            [self._source.grad_cam(images[i : i + step], labels[i : i + step]) for i in starts]
        )

    def look(self, images: Pixels, on_begun: OnBegun = None) -> Prediction:
        """What the network sees in one batch; its unlikeness is by features, not by colours."""
        answer = self._source.answer(images, self._likeness, self._cases, on_begun)
        calibrated = self._calibration.apply(answer.uncalibrated)
        return Prediction(
            raw=answer.raw,
            calibrated=calibrated,
            opinions=answer.opinions,
            raw_opinions=answer.raw_opinions,
            sets=None if self._conformal is None else self._conformal.sets(calibrated),
            unlikeness=answer.unlikeness,
            distances=answer.distances,
        )

    def _predict(self, images: Pixels, on_begun: OnBegun = None) -> Prediction:
        seen, by_colours = self.look(images, on_begun), self._likeness.of_colours(images)
        similar = None
        if self._cases is not None and seen.distances is not None:
            similar = self._cases.nearest(seen.distances)
        unlikeness = None  # half of it would be taken for all
        if seen.unlikeness is not None and by_colours is not None:
            unlikeness = np.maximum(seen.unlikeness, by_colours)
        return replace(seen, unlikeness=unlikeness, similar=similar, distances=None)


@dataclass(frozen=True)
class Answer:
    """What a source says of a batch, as `Prediction` has it, before its version calibrates it."""

    raw: NDArray[np.float32]
    uncalibrated: NDArray[np.float32]
    """What the version's calibration takes: of an ensemble what its members have calibrated."""
    unlikeness: NDArray[np.float64] | None
    distances: Distances | None
    opinions: NDArray[np.float64] | None = None
    raw_opinions: NDArray[np.float32] | None = None


class Network:
    """A single model in an engine."""

    def __init__(
        self,
        version: ModelVersion,
        settings: InferenceSettings,
        precision: Precision,
        *,
        maps: bool = False,
    ) -> None:
        self._engine = create_engine(version, settings, precision, maps=maps)
        self.engine = self._engine.name
        self.build = self._engine.build
        self.precision = self._engine.precision
        self.sha256 = self._engine.artefact_sha256

    def answer(
        self, images: Pixels, likeness: Likeness, cases: Cases | None, on_begun: OnBegun
    ) -> Answer:
        """Run the network on one batch."""
        outputs = self._engine.predict(images, on_begun)
        softmax, features = outputs.probabilities, outputs.features
        distances = None if cases is None else cases.distances(features)
        return Answer(softmax, softmax, likeness.of_features(features), distances)

    def grad_cam(self, images: Pixels, labels: Labels) -> NDArray[np.float32]:
        """See `Predictor.grad_cam`."""
        outputs = self._engine.predict(images)
        if outputs.maps is None or self._engine.head is None:
            raise ValueError("expected a predictor that was loaded with maps")
        return enlarge(grad_cam(outputs.maps, outputs.features, labels, self._engine.head))


class Ensemble:
    """The weighted mean of its members' calibrated probabilities, and of their unlikeness."""

    def __init__(self, members: Sequence[tuple[Predictor, float]]) -> None:
        self.members = list(members)
        references = [member.reference for member, _ in members]
        self.engine = references[0].engine
        self.build = members[0][0].build
        self.precision = members[0][0].precision
        self._weights = np.array([weight for _, weight in members])
        self._weights /= self._weights.sum()
        parts = [
            f"{reference.sha256} {weight!r}"
            for reference, weight in zip(references, self._weights.tolist(), strict=True)
        ]
        self.sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def cases(self) -> Cases | None:
        """Those of its members, if all have the same."""
        of_members = [member.cases for member, _ in self.members]
        first = of_members[0]
        if first is None or not all(first.are_those_of(other) for other in of_members):
            return None
        return first

    def answer(
        self, images: Pixels, likeness: Likeness, cases: Cases | None, on_begun: OnBegun
    ) -> Answer:
        """Have each member look at the batch."""
        del likeness  # the members know what they were trained on
        *firsts, last = (member for member, _ in self.members)
        seen = [*(member.look(images) for member in firsts), last.look(images, on_begun)]
        opinions = np.stack([one.calibrated for one in seen], axis=1)
        raw_opinions = np.stack([one.raw for one in seen], axis=1)
        each = [one.unlikeness for one in seen if one.unlikeness is not None]
        known = len(each) == len(seen)
        return Answer(
            raw=self._mean(raw_opinions),
            uncalibrated=self._mean(opinions),
            unlikeness=self._weights @ np.stack(each) if known else None,
            distances=None if cases is None else self._mean_distances(seen),
            opinions=opinions,
            raw_opinions=raw_opinions,
        )

    def grad_cam(self, images: Pixels, labels: Labels) -> NDArray[np.float32]:
        """See `Predictor.grad_cam`."""
        each = np.stack([member.grad_cam(images, labels) for member, _ in self.members])
        return scaled(np.tensordot(self._weights, each, axes=1).astype(np.float32))

    def _mean_distances(self, seen: Sequence[Prediction]) -> Distances:
        each = np.stack([one.distances for one in seen if one.distances is not None])
        return np.tensordot(self._weights, each, axes=1).astype(np.float32)

    def _mean(self, of_members: NDArray[Any]) -> NDArray[np.float32]:
        """The weighted mean of what members say, shape (n, m, 4) to (n, 4)."""
        mean: NDArray[np.float32] = np.tensordot(of_members, self._weights, axes=(1, 0)).astype(
            np.float32
        )
        return mean
