"""Network architectures: one file registers one builder.

Every architecture takes uint8 RGB of shape (n, 224, 224, 3), has its preprocessing inside the
graph and gives four softmax probabilities in the order of `shared.triage.labels.LABELS`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import UnknownModelError
from shared.models.pretrained import PretrainedWeights

if TYPE_CHECKING:
    import keras

Builder = Callable[[PretrainedWeights | None], "keras.Model"]


@dataclass(frozen=True)
class Architecture:
    """A registered architecture.

    `frozen_at` names the layers at which the frozen part of the network may be cut, in the order
    of the data: what comes before the last of them is never trained. Empty: all is trained.
    """

    name: str
    builder: Builder
    frozen_at: tuple[str, ...] = ()


_ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, *, frozen_at: tuple[str, ...] = ()) -> Callable[[Builder], Builder]:
    """Register the decorated builder under an architecture name."""

    def add(builder: Builder) -> Builder:
        _ARCHITECTURES[name] = Architecture(name, builder, frozen_at)
        return builder

    return add


def build(name: str, pretrained: PretrainedWeights | None = None) -> keras.Model:
    """Build a model.

    Args:
        name: The architecture.
        pretrained: Where the backbone's ImageNet weights come from; None leaves random ones, for
            a model whose weights are loaded next.

    Raises:
        UnknownModelError: No architecture has that name.
        PretrainedWeightsError: The backbone's weights cannot be had.
    """
    return architecture(name).builder(pretrained)


def architecture(name: str) -> Architecture:
    """One architecture.

    Raises:
        UnknownModelError: None has that name.
    """
    found = architectures()
    if name not in found:
        known = ", ".join(sorted(found))
        raise UnknownModelError(f"No architecture is called {name!r}; there are: {known}.")
    return found[name]


def architectures() -> dict[str, Architecture]:
    """All registered architectures by name; imports TensorFlow."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(_ARCHITECTURES)
