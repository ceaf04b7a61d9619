"""Model versions without a network, for tests of what is asked of their cards and cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.trainer.cases import fit_cases
from services.trainer.dataset import Sample
from services.trainer.stored_arrays import store_arrays
from shared.models.cases import CASES
from shared.models.registry import CARD, ModelVersion


def a_version_with_cases(
    root: Path, name: str, samples: Sequence[Sample], *, split_hash: str
) -> ModelVersion:
    """Version 1 of a model that was trained on images of a data set of its own."""
    version = ModelVersion(name, 1, root / name / "1")
    version.folder.mkdir(parents=True)
    features = np.random.default_rng(1).normal(2, 1, (len(samples), 8)).astype(np.float32)
    artefact = store_arrays(version, CASES, fit_cases(tuple(samples), features))
    card = {
        "name": name,
        "version": 1,
        "data": {"version": "of another laboratory"},
        "split": {"hash": split_hash},
        "artefacts": {CASES: artefact},
    }
    (version.folder / CARD).write_text(json.dumps(card))
    return version


def an_ensemble(root: Path, *members: ModelVersion, split_hash: str) -> ModelVersion:
    """Version 1 of the mean of other versions; it has no cases of its own."""
    version = ModelVersion("ensemble", 1, root / "ensemble" / "1")
    version.folder.mkdir(parents=True)
    card = {
        "name": "ensemble",
        "version": 1,
        "data": {"version": "of another laboratory"},
        "split": {"hash": split_hash},
        "members": [{"model": str(member), "weight": 1.0} for member in members],
        "artefacts": {},
    }
    (version.folder / CARD).write_text(json.dumps(card))
    return version
