"""The few drawn images that the fault tests post, and the jobs that are made of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw

from shared.imaging import INPUT_SIZE
from shared.local.synthetic import draw_smear
from tests.factories import encode

RECIPES = ("0", "1", "2", "3", "4", "5", "6", "7", "0+1", "2", "3", "4+5", "5", "6+7+1", "7", "0")
"""The jobs that the clients post in turn; a recipe lists the images of one job."""

POISONS: dict[str, tuple[int, int, int]] = {
    "crash": (255, 0, 255),
    "memory": (0, 255, 0),
    "hang_decoding": (255, 0, 0),
    "hang_model": (0, 0, 255),
}
"""The colour of the upper left corner of the images that the poisoned worker trips over."""

POISON_PREFIX = "poison_"
_CORNER = 64


@dataclass(frozen=True)
class Picture:
    """An image file."""

    data: bytes
    sha256: str


def pictures_of(recipe: str) -> list[Picture]:
    """The images of a job: `SEED`, `SEED-SIDE` or `SEED-SIDE-FORMAT`, joined by `+`."""
    return [_picture(name) for name in recipe.split("+")]


@cache
def _picture(name: str) -> Picture:
    if name.startswith(POISON_PREFIX):
        data = encode(_poisoned(POISONS[name.removeprefix(POISON_PREFIX)]))
    else:
        seed, side, image_format, *_ = [*name.split("-"), "", ""]
        size = int(side or INPUT_SIZE)
        field = draw_smear(int(seed), size=size, red_cells=20, nucleated_cells=4)
        usual = "PNG" if int(seed) % 2 else "JPEG"
        chosen = image_format or usual
        options = {"quality": 90} if chosen == "JPEG" else {}
        data = encode(field, chosen, **options)
    return Picture(data, hashlib.sha256(data).hexdigest())


def _poisoned(colour: tuple[int, int, int]) -> Image.Image:
    field = draw_smear(99, red_cells=20, nucleated_cells=4)
    ImageDraw.Draw(field).rectangle((0, 0, _CORNER, _CORNER), fill=colour)
    return field
