"""How a prediction can be explained."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

Progress = Callable[[float], None]
"""Is told the share of the work that is done, 0 to 1."""


class Method(StrEnum):
    """A method; docs/explanations.md tells what each shows and what it does not."""

    GRADCAM = "gradcam"  # where in the network's last map the evidence lies; milliseconds
    LIME = "lime"  # what happens when cells are hidden, one way and another; seconds
