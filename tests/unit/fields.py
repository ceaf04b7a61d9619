"""Drawn and real fields, what degrades them, and images that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.colour import to_pixels
from shared.imaging.decode import load_model_input, to_model_input
from shared.imaging.normalise import to_grey
from shared.imaging.quality import QualityFault, measure_quality, quality_faults
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS

SHAPE = (INPUT_SIZE, INPUT_SIZE, 3)
PLASMA, NUCLEUS = (238, 241, 247), (98, 56, 172)


def smear(seed: int = 1, *, red_cells: int = 70, nucleated_cells: int = 9) -> Pixels:
    drawn = draw_smear(seed, red_cells=red_cells, nucleated_cells=nucleated_cells)
    return to_model_input(drawn)


def blur(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def expose(image: Pixels, gain: float) -> Pixels:
    return to_pixels(image.astype(float) * gain)


def wash_out(image: Pixels, share: float) -> Pixels:
    return to_pixels(240 + share * (image - 240.0))


def black_and_white(image: Pixels) -> Pixels:
    grey = to_grey(image)
    return np.where(grey > np.median(grey) - 20, np.uint8(255), np.uint8(0))


def turn_hue(image: Pixels, degrees: float) -> Pixels:
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turned = hue.point([(level + round(degrees * 256 / 360)) % 256 for level in range(256)])
    return np.asarray(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def plain(colour: tuple[int, int, int], noise: float = 0) -> Pixels:
    rng = np.random.default_rng(0)
    return to_pixels(np.array(colour) + noise * rng.normal(size=SHAPE))


def discs(*circles: tuple[int, int, int], colour: tuple[int, int, int] = NUCLEUS) -> Pixels:
    """Circles (x, y, radius in pixels) on plasma."""
    field = Image.new("RGB", SHAPE[:2], PLASMA)
    for x, y, radius in circles:
        ImageDraw.Draw(field).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(field)


def page(ink: tuple[int, int, int], paper: tuple[int, int, int], size: int) -> Pixels:
    page = Image.new("RGB", SHAPE[:2], paper)
    words = "the quick brown fox jumps over the lazy dog and runs " * 2
    for line, top in enumerate(range(4, INPUT_SIZE, size + 3)):
        text, font = words[line % 9 :], ImageFont.load_default(size)
        ImageDraw.Draw(page).text((4, top), text, fill=ink, font=font)
    return np.asarray(page)


def faults(image: Pixels) -> set[QualityFault]:
    return set(quality_faults(measure_quality(image)))


def real_fields(dataset: Path, step: int, count: int) -> list[Pixels]:
    """As many of each class, spread over its files."""
    files = [f for label in LABELS for f in sorted((dataset / label).iterdir())[::step][:count]]
    return [load_model_input(file, max_pixels=10**6) for file in files]
