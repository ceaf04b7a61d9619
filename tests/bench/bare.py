"""The bound: a model alone, without a service, in every precision that it may run in."""

from __future__ import annotations

import numpy as np

from shared.imaging import Pixels
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.engines import supported_precisions
from shared.models.precision import Precision, PrecisionRefusedError, choose_precision
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from tests.bench.report import Report, median_rate

BATCHES = (1, 4, 16, 32)
_SECONDS_A_ROUND = 2.0


def bare_models(report: Report, models: tuple[str, ...], *, rounds: int) -> None:
    """Images a second of each model, engine and precision, at each size of a batch."""
    for name in models:
        for engine in ("openvino", "tensorflow"):
            settings = InferenceSettings(engine=engine)
            version = ModelRegistry(settings.models_dir).resolve(name)
            for precision in allowed(version, settings):
                for batch in BATCHES:
                    rate = bare_rate(version, settings, precision, batch, rounds=rounds)
                    what = f"{version}, {engine}, {precision}, batches of {batch}"
                    report.add("the bare model", what, rate, "images/s")


def best_bare_rate(name: str, *, rounds: int) -> tuple[float, str]:
    """Images a second of a model as the worker runs it, and what that is."""
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(name)
    precision = choose_precision(version, settings, supported_precisions(settings.engine))
    rate = bare_rate(version, settings, precision, settings.batch_size, rounds=rounds)
    return rate, f"{version} alone, {precision}"


def allowed(version: ModelVersion, settings: InferenceSettings) -> list[Precision]:
    """The precisions that a version may run in on this machine."""
    found: list[Precision] = []
    supported = supported_precisions(settings.engine)
    for precision in supported:
        try:
            asked = settings.model_copy(update={"precision": precision})
            found.append(choose_precision(version, asked, supported))
        except PrecisionRefusedError:
            continue
    return found


def bare_rate(
    version: ModelVersion,
    settings: InferenceSettings,
    precision: Precision,
    batch: int,
    *,
    rounds: int,
) -> float:
    """Images a second, the median of the rounds."""
    of_batch = settings.model_copy(update={"batch_size": batch})
    predictor = Predictor.load_in(precision, version, of_batch)
    images = fields(batch)
    predictor.predict(images)
    one = 1 / median_rate(lambda: _predict(predictor, images, 1), rounds=3)
    repeats = max(1, round(_SECONDS_A_ROUND / (one * batch)))
    return median_rate(lambda: _predict(predictor, images, repeats), rounds=rounds)


def _predict(predictor: Predictor, images: Pixels, repeats: int) -> int:
    for _ in range(repeats):
        predictor.predict(images)
    return repeats * len(images)


def fields(count: int) -> Pixels:
    """Drawn fields as a model sees them."""
    return np.stack([to_model_input(draw_smear(seed)) for seed in range(count)])
