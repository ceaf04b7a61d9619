"""What of a field a network is shown: the whole of it, or its cells alone."""

from __future__ import annotations

from services.trainer.plan import Representation, TrainingPlan
from shared.errors import ConflictError
from shared.imaging import Pixels
from shared.imaging.segment import segment


class NotServableError(ConflictError):
    """The service shows its models images as they are, and this one was trained on others."""

    code = "representation_not_served"


def represent(images: Pixels, representation: Representation) -> Pixels:
    """Show images as a plan says.

    Variants are segmented after they are made: what was cut out is black in all of them.

    Args:
        images: Shape (..., height, width, 3), the scale bar hidden or not.
        representation: `original` or `segmented`.
    """
    return segment(images) if representation == "segmented" else images


def require_servable(plan: TrainingPlan) -> None:
    """Refuse to make a version of what the service could not show its images to.

    Raises:
        NotServableError: The plan trains on segmented images.
    """
    if plan.representation != "original":
        raise NotServableError(f"The representation was {plan.representation}.")
