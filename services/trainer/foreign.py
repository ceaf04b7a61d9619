"""What a model says of images that are none of its business: other laboratories', no smears."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from services.trainer.evaluate import decide_all
from services.trainer.metrics import proportion
from shared.errors import DatasetError, ImageError, UnsupportedMediaTypeError
from shared.imaging.decode import load_model_input
from shared.imaging.quality import measure_quality
from shared.models.predictor import Predictor
from shared.triage.policy import Reason, Urgency


def measure_foreign(predictor: Predictor, folder: Path, *, max_pixels: int) -> dict[str, Any]:
    """Have a model judge every image below a folder, none of which is like its training images.

    Args:
        predictor: The model.
        folder: Any number of images; what is no image at all is passed over.
        max_pixels: Largest width x height of an accepted image.

    Returns:
        Plain data: `refused`: files that intake would refuse; `reviewed`, `unlike` and `routine`:
        of the others, those for which review is asked, those that the detector of foreign images
        flags, and those whose urgency is routine; `reasons`: images by reason.

    Raises:
        DatasetError: The folder has no usable image.
    """
    images, refused = [], 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            images.append(load_model_input(path, max_pixels=max_pixels))
        except UnsupportedMediaTypeError:
            continue
        except ImageError:
            refused += 1
    if not images:
        raise DatasetError(f"There is no usable image in {folder}.")
    prediction = predictor.predict(np.stack(images))
    results = decide_all(predictor, prediction, [measure_quality(image) for image in images])
    reasons = Counter(reason for result in results for reason in result.reasons)
    routine = sum(result.urgency is Urgency.ROUTINE for result in results)
    return {
        "images": len(images),
        "refused": refused,
        "reviewed": proportion(sum(r.requires_review for r in results), len(results)),
        "unlike": proportion(reasons[Reason.UNLIKE_TRAINING_DATA], len(results)),
        "routine": proportion(routine, len(results)),
        "reasons": dict(reasons.most_common()),
    }
