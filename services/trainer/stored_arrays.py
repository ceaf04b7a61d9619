"""Artefacts that are arrays: `KIND-HASH.npz` in a version's folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models.registry import ModelVersion


def store_arrays(
    version: ModelVersion, kind: str, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """Write arrays under a name of their own.

    Until the card names it, the version has the file that its card describes.

    Returns:
        What the card is to say of the artefact.
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    data = stream.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    path = version.folder / f"{kind}-{sha256[:8]}.npz"
    path.write_bytes(data)
    return {"file": path.name, "sha256": sha256, "bytes": len(data)}


def remove_unnamed(version: ModelVersion, kind: str) -> None:
    """Remove the files of a kind that a version's card no longer names."""
    kept = version.card["artefacts"][kind]["file"]
    for path in version.folder.glob(f"{kind}-*.npz"):
        if path.name != kept:
            path.unlink()
