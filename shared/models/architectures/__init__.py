"""Network architectures: one file registers one builder.

Every architecture takes uint8 RGB of shape (n, 224, 224, 3), has its preprocessing inside the
graph and gives four softmax probabilities in the order of `shared.triage.labels.LABELS`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.errors import UnknownModelError

if TYPE_CHECKING:
    import keras

Builder = Callable[[], "keras.Model"]
_BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register the decorated builder under an architecture name."""

    def add(builder: Builder) -> Builder:
        _BUILDERS[name] = builder
        return builder

    return add


def build(name: str) -> keras.Model:
    """Build an untrained model.

    Raises:
        UnknownModelError: No architecture has that name.
    """
    builders = architectures()
    if name not in builders:
        known = ", ".join(sorted(builders))
        raise UnknownModelError(f"No architecture is called {name!r}; there are: {known}.")
    return builders[name]()


def architectures() -> dict[str, Builder]:
    """All registered builders by name; imports TensorFlow."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(_BUILDERS)
