"""Draws a stained smear field that no microscope ever saw.

It is what `make run` submits and what tests use where no real images are at hand. It looks enough
like a field to go through every step, and its triage result means nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, PngImagePlugin

SYNTHETIC_SMEAR = Path(__file__).with_name("synthetic_smear.png")
"""The bundled drawing, made by `python -m shared.local.synthetic`."""

NOTICE = "SYNTHETIC: drawn by hemotriage; not a photograph of a blood smear."

_SCALE = 3  # drawn larger and reduced, for smooth edges
_REFERENCE_SIZE = 224
_BACKGROUND = (238, 241, 247)
_RED_CELL, _PALLOR = (172, 184, 204), (216, 222, 234)
_CYTOPLASM, _NUCLEUS = (150, 128, 214), (98, 56, 172)


def draw_smear(
    seed: int, *, size: int = 224, red_cells: int = 70, nucleated_cells: int = 9
) -> Image.Image:
    """Draw a field.

    Args:
        seed: The same seed draws the same pixels.
        size: Height and width in pixels.
        red_cells: Red cells, which may touch and overlap.
        nucleated_cells: Purple cells, which do not overlap each other.

    Returns:
        An image in mode RGB.
    """
    rng = np.random.default_rng(seed)
    side = size * _SCALE
    unit = side / _REFERENCE_SIZE
    canvas = Image.new("RGB", (side, side), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for _ in range(red_cells):
        _draw_red_cell(draw, rng.uniform(0, side, 2), rng.uniform(7, 9.5) * unit, rng)
    for centre in _apart(rng, nucleated_cells, side, 26 * unit):
        _draw_nucleated_cell(draw, centre, rng.uniform(10, 13) * unit, rng)
    field = canvas.filter(ImageFilter.GaussianBlur(0.8 * unit)).resize(
        (size, size), Image.Resampling.LANCZOS
    )
    noisy = np.asarray(field, dtype=np.float32) + rng.normal(0, 2.5, (size, size, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _apart(
    rng: np.random.Generator, count: int, side: float, distance: float
) -> list[NDArray[np.float64]]:
    """Random centres at a distance from each other; fewer where no more fit."""
    centres: list[NDArray[np.float64]] = []
    for _ in range(count * 50):
        candidate = rng.uniform(0.05 * side, 0.95 * side, 2)
        if all(np.hypot(*(candidate - other)) > distance for other in centres):
            centres.append(candidate)
        if len(centres) == count:
            break
    return centres


def _blob(
    centre: NDArray[np.float64], radius: float, rng: np.random.Generator, *, roughness: float
) -> list[tuple[float, float]]:
    """The outline of a cell: a circle with a few random waves."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radii = np.full_like(angles, radius)
    for wave in range(2, 6):
        height = radius * rng.normal(0, roughness / wave)
        radii += height * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    return [
        (float(centre[0] + r * np.cos(a)), float(centre[1] + r * np.sin(a)))
        for r, a in zip(radii, angles, strict=True)
    ]


def _shade(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, 7), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _draw_red_cell(
    draw: ImageDraw.ImageDraw,
    centre: NDArray[np.float64],
    radius: float,
    rng: np.random.Generator,
) -> None:
    draw.polygon(_blob(centre, radius, rng, roughness=0.05), fill=_shade(_RED_CELL, rng))
    pallor = radius * rng.uniform(0.35, 0.5)
    draw.polygon(_blob(centre, pallor, rng, roughness=0.05), fill=_shade(_PALLOR, rng))


def _draw_nucleated_cell(
    draw: ImageDraw.ImageDraw,
    centre: NDArray[np.float64],
    radius: float,
    rng: np.random.Generator,
) -> None:
    draw.polygon(_blob(centre, radius, rng, roughness=0.08), fill=_shade(_CYTOPLASM, rng))
    nucleus = centre + rng.normal(0, 0.06 * radius, 2)
    draw.polygon(_blob(nucleus, 0.84 * radius, rng, roughness=0.08), fill=_shade(_NUCLEUS, rng))
    for _ in range(25):  # clumps of chromatin
        angle, distance = rng.uniform(0, 2 * np.pi), 0.65 * radius * np.sqrt(rng.random())
        spot = nucleus + distance * np.array([np.cos(angle), np.sin(angle)])
        clump = _blob(spot, radius * rng.uniform(0.06, 0.16), rng, roughness=0.1)
        draw.polygon(clump, fill=_shade(_NUCLEUS, rng))


def main() -> None:
    """Draw the bundled image anew."""
    notice = PngImagePlugin.PngInfo()
    notice.add_text("Comment", NOTICE)
    draw_smear(seed=7).save(SYNTHETIC_SMEAR, pnginfo=notice, optimize=True)


if __name__ == "__main__":
    main()
