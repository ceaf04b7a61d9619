"""Explains what a model says of one field: a picture for a haematologist, figures for a program."""

from __future__ import annotations

import importlib
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from shared.explanations.attribution import Attribution, shares, visible_part
from shared.explanations.method import Method, Progress
from shared.explanations.overlay import Caption, draw_explanation, encode_png
from shared.imaging import Pixels
from shared.imaging.decode import to_model_input
from shared.models.predictor import Predictor
from shared.triage.labels import LABELS, Label

VERSION = "1"
"""Of the form of the document, of the methods and of the picture; any change is a new one."""

_DRAWN_FROM = 0.98  # what LIME leaves of the progress to the picture


@dataclass(frozen=True)
class Explanation:
    """One explanation of one field. Neither part names a patient, a job or a file."""

    png: bytes
    """The field, the overlay, the scale and a caption."""
    document: dict[str, Any]
    """The figures; docs/explanations.md describes them."""


def explain(
    predictor: Predictor,
    image: Image.Image,
    method: Method,
    label: Label | None = None,
    *,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Explanation:
    """Explain a class of one field; one thread at a time, as the predictor allows.

    Args:
        predictor: The model, loaded with maps.
        image: The decoded field in mode RGB, of any size.
        method: How.
        label: The class; without one, the predicted class.
        seed: Of what LIME hides; the same seed gives the same explanation.
        progress: Is called now and then, at last with 1.

    Raises:
        ValueError: The predictor was not loaded with maps.
    """
    started = time.perf_counter()
    pixels = to_model_input(image)
    probabilities = predictor.predict(pixels[np.newaxis]).calibrated[0]
    index = int(probabilities.argmax()) if label is None else LABELS.index(label)
    attribution = predictor.grad_cam(pixels[np.newaxis], np.array([index]))[0]
    of_lime: dict[str, Any] = {}
    if method is Method.LIME:
        attribution, of_lime = _by_lime(
            predictor, pixels, index, attribution, seed=seed, progress=progress
        )
    model = predictor.reference
    caption = Caption(
        method=method,
        model=f"{model.name}@{model.version}",
        label=LABELS[index],
        probability=float(probabilities[index]),
        shares=shares(attribution, pixels),
        version=VERSION,
        fit=of_lime.get("lime", {}).get("score"),
    )
    picture = draw_explanation(image, visible_part(attribution), caption)
    png = encode_png(picture, caption)
    document = {
        "version": caption.version,
        "method": str(caption.method),
        "model": caption.model,
        "engine": model.engine,
        "precision": model.precision,
        "label": str(caption.label),
        "probability": caption.probability,
        "attribution": {name: round(share, 4) for name, share in asdict(caption.shares).items()},
        **of_lime,
        "width": picture.width,
        "height": picture.height,
        "milliseconds": round(1000 * (time.perf_counter() - started), 1),
    }
    progress(1.0)
    return Explanation(png, document)


def _by_lime(
    predictor: Predictor,
    pixels: Pixels,
    index: int,
    grad_cam: Attribution,
    *,
    seed: int,
    progress: Progress,
) -> tuple[Attribution, dict[str, Any]]:
    """LIME's attribution, and what the document says of it."""
    # Loads scikit-learn and scikit-image, which Grad-CAM does without.
    lime = importlib.import_module("shared.explanations.lime")
    found = lime.lime_attribution(
        pixels,
        index,
        lambda images: predictor.predict(images).calibrated,
        samples=lime.SAMPLES,
        seed=seed,
        progress=lambda share: progress(_DRAWN_FROM * share),
    )
    said = {
        "samples": lime.SAMPLES,
        "superpixels": len(found.weights),
        "score": round(found.score, 4),
        "seed": seed,
    }
    rank = lime.agreement(found, grad_cam)
    spearman = None if rank is None else round(rank, 4)
    return found.attribution, {
        "lime": said,
        "agreement": {"with": str(Method.GRADCAM), "spearman": spearman},
    }
