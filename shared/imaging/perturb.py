"""A fixed set of changes that a smear's image goes through in practice, in three strengths.

Level 1 is what one laboratory sees from day to day, level 2 what differs between laboratories,
level 3 an extreme that a sound laboratory would send back. Signs and directions are drawn, so that
over a set of images a hue turns both ways and a lamp is now too warm, now too cold.

| name          | level 1   | level 2    | level 3    | what it is                               |
| ------------- | --------- | ---------- | ---------- | ---------------------------------------- |
| hue           | 5 degrees | 12 degrees | 30 degrees | all colours turn about the grey axis: pH |
|               |           |            |            | of the buffer, age of the stain [a]      |
| saturation    | 10 %      | 25 %       | 50 %       | distance to grey: time in the stain,     |
|               |           |            |            | camera [a]                               |
| brightness    | 5 %       | 10 %       | 20 %       | exposure, lamp; well within the 35 % of  |
|               |           |            |            | [a], which bleach a pale field           |
| illumination  | 4 %       | 10 %       | 20 %       | a slope across the field, from -x to +x  |
|               |           |            |            | at its rim: condenser out of centre      |
| stain         | 5 %, 2    | 15 %, 6    | 30 %, 12   | amount of each stain, and a turn of the  |
|               | degrees   | degrees    | degrees    | stain vectors: dye lot, protocol [b];    |
|               | 0.0025    | 0.0075     | 0.015      | optical density of stain in the plasma   |
| white_balance | 3 %       | 8 %        | 15 %       | gains of the channels against each       |
|               |           |            |            | other: halogen lamp against LED          |
| jpeg          | 70        | 40         | 20         | quality, 4:2:0: archives and telephones  |
| blur          | 0.5 px    | 1 px       | 2 px       | Gaussian sigma at 224 px: focus; at 2 px |
|               |           |            |            | chromatin can no longer be read          |

[a] Tellez et al. 2019, Med. Image Anal. 58:101544: hue and saturation within 10 % (of a turn: 36
degrees), brightness within 35 %.
[b] Tellez et al. 2018, IEEE Trans. Med. Imaging 37:2126, and 2019: amounts within 5 % as the light
variant, 20 % as the strong one. Their offsets are as large; on smears, where red cells have an
optical density near 0.1, those bleach the field, hence the smaller ones here.
Where a row names no source, its levels were chosen by eye on the ALL set.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from shared.imaging import Pixels
from shared.imaging.colour import GREY_AXIS, rotation, saturation, to_pixels
from shared.imaging.mask import mask_scale_bar
from shared.imaging.stain import from_optical_density, optical_density, shift_stains

PERTURBATIONS_VERSION = "1"
"""Changes whenever the same name, level and seed give other pixels."""

LEVELS = (1, 2, 3)

_Change = Callable[[Pixels, float, np.random.Generator], Pixels]

_STAIN_OFFSET = 0.05  # of the change of the amounts
_STAIN_DEGREES = 40.0  # turn of the stain vectors at a change of the amounts by 1


@dataclass(frozen=True)
class Perturbation:
    """One way to change an image, with its three strengths."""

    levels: tuple[float, float, float]
    change: _Change


def perturb(image: Pixels, name: str, level: int, seed: int, index: int = 0) -> Pixels:
    """Change one model input.

    The mask is painted anew afterwards, because in the service masking comes after the microscope.

    Args:
        image: Shape (224, 224, 3), its scale bar hidden.
        name: A key of `PERTURBATIONS`.
        level: 1 to 3; 0 changes nothing.
        seed: Seed of signs and directions. They do not depend on the level, so that the levels of
            one image differ in strength alone.
        index: Number of the image in its set; each draws its own signs and directions.

    Returns:
        Shape (224, 224, 3).

    Raises:
        ValueError: There is no such level.
        KeyError: There is no such perturbation.
    """
    if level not in (0, *LEVELS):
        raise ValueError(f"expected a level from 0 to {LEVELS[-1]}, received: {level}")
    perturbation = PERTURBATIONS[name]
    if level == 0:
        return mask_scale_bar(image)
    rng = np.random.default_rng([seed, index, zlib.crc32(name.encode())])
    return mask_scale_bar(perturbation.change(image, perturbation.levels[level - 1], rng))


def _sign(rng: np.random.Generator, size: int | None = None) -> NDArray[np.float64]:
    return np.asarray(rng.choice([-1.0, 1.0], size))


def _change_hue(image: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    return to_pixels(image @ rotation(GREY_AXIS, degrees * float(_sign(rng))))


def _change_saturation(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    return to_pixels(image @ saturation(1 + share * float(_sign(rng))))


def _change_brightness(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    return to_pixels(image * (1 + share * _sign(rng)))


def _tilt_illumination(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.add.outer(
        np.sin(angle) * np.linspace(-1, 1, height), np.cos(angle) * np.linspace(-1, 1, width)
    )
    slope /= np.abs(slope).max()
    return to_pixels(image * (1 + share * slope[..., np.newaxis]))


def _change_stain(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    scale = 1 + share * _sign(rng, 3)
    offset = share * _STAIN_OFFSET * _sign(rng, 3)
    shifted = shift_stains(image, scale.astype(np.float32), offset.astype(np.float32))
    axis = rng.normal(size=3)
    turn = rotation(axis / np.linalg.norm(axis), share * _STAIN_DEGREES)
    return from_optical_density((optical_density(shifted) @ turn).astype(np.float32))


def _change_white_balance(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    direction = rng.normal(size=3)
    direction -= direction.mean()
    direction /= np.abs(direction).max()
    return to_pixels(image * np.exp(share * direction))


def _compress(image: Pixels, quality: float, _rng: np.random.Generator) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return np.asarray(Image.open(buffer), dtype=np.uint8)


def _blur(image: Pixels, sigma: float, _rng: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "hue": Perturbation((5.0, 12.0, 30.0), _change_hue),
        "saturation": Perturbation((0.10, 0.25, 0.50), _change_saturation),
        "brightness": Perturbation((0.05, 0.10, 0.20), _change_brightness),
        "illumination": Perturbation((0.04, 0.10, 0.20), _tilt_illumination),
        "stain": Perturbation((0.05, 0.15, 0.30), _change_stain),
        "white_balance": Perturbation((0.03, 0.08, 0.15), _change_white_balance),
        "jpeg": Perturbation((70, 40, 20), _compress),
        "blur": Perturbation((0.5, 1.0, 2.0), _blur),
    }
)
"""The set, by name."""
