"""ImageNet weights of the backbones: from a folder of the settings, or by Keras' own loader.

A hospital's machine often reaches no other host. It then keeps `NAME_notop.weights.h5` files, made
by `save_weights` on the bare backbone, in the folder that `HEMOTRIAGE_PRETRAINED_DIR` names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import PretrainedWeightsError

if TYPE_CHECKING:
    import keras

Fetch = Callable[[], "keras.Model"]


@dataclass(frozen=True)
class PretrainedWeights:
    """Where pretrained weights come from. `folder` comes first where it is given."""

    folder: Path | None = None

    def load_into(self, backbone: keras.Model, name: str, *, fetch: Fetch | None) -> None:
        """Give a backbone its ImageNet weights.

        Args:
            backbone: The network without its head.
            name: The file is `NAME_notop.weights.h5`.
            fetch: Builds the same backbone with weights that Keras downloads; None where Keras
                offers none.

        Raises:
            PretrainedWeightsError: Neither source has them, or the file is of another network.
        """
        path = None if self.folder is None else self.folder / f"{name}_notop.weights.h5"
        if path is not None and path.is_file():
            try:
                backbone.load_weights(path)
            except (ValueError, OSError, KeyError) as error:
                raise PretrainedWeightsError(f"{path} does not fit {name}.") from error
            return
        looked = f"There is no {path}" if path else "HEMOTRIAGE_PRETRAINED_DIR is not set"
        if fetch is None:
            raise PretrainedWeightsError(f"{looked}, and Keras offers none for {name}.")
        try:
            backbone.set_weights(fetch().get_weights())
        except Exception as error:  # Keras raises a bare Exception where it cannot download
            raise PretrainedWeightsError(f"{looked}, and Keras could not fetch {name}.") from error
