"""The picture of an explanation: the field, and beside it what the model looked at.

The overlay shows the field in dim grey, and lights up what counted: the colours of the attribution
are the more opaque the higher it is, so that cells stay to be seen where the model found nothing.
A field as bright as it is would be lighter than the middle of the scale, and half would look like
less than nothing. A line encloses what reaches half of the maximum: all can be read without colour.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from shared.explanations.attribution import Attribution, Shares
from shared.explanations.method import Method
from shared.explanations.palette import coloured
from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.colour import to_pixels
from shared.imaging.mask import MASK_SIZE
from shared.triage.labels import Label
from shared.triage.wording.english import ENGLISH

PANEL = 2 * INPUT_SIZE
"""Longest side, in pixels, of each of the two panels: that of a field of 224x224, enlarged."""

NAMES: Mapping[Method, str] = MappingProxyType({Method.GRADCAM: "Grad-CAM", Method.LIME: "LIME"})
"""The methods as their authors write them."""

DIMMED = 0.33
"""How bright the field is under the colours: dark enough that more is lighter on any ground."""

LARGEST_OPACITY = 0.9
"""Of the colour where the attribution is 1."""

SHADING = 0.3
"""How much darker a colour is on black than on white: it shows the chromatin under it."""

_MARGIN, _GAP, _SCALE_WIDTH, _BAR_WIDTH = 16, 16, 56, 18
_WIDTH = 2 * _MARGIN + 2 * PANEL + 2 * _GAP + _SCALE_WIDTH
_TITLE_HEIGHT, _LINE_HEIGHT, _LEAST_HEIGHT = 24, 20, 120
_PAPER, _INK, _FAINT, _LINE = (255, 255, 255), (20, 20, 20), (90, 90, 90), (255, 255, 255)
_PLASMA = 240  # the grey on which the scale shows its colours
_COMPRESSION = 4
_FONT, _SMALL = ImageFont.load_default(15), ImageFont.load_default(13)
_COLOUR: Mapping[Method, str] = MappingProxyType(
    {
        Method.GRADCAM: "how much the last map of the network speaks for this class here",
        Method.LIME: "how much less probable this class is where the part is hidden",
    }
)
_CORNER = "The hatched corner, where scale bars are, is hidden from the model."


@dataclass(frozen=True)
class Caption:
    """What the picture says of itself."""

    method: Method
    model: str
    """`NAME@VERSION`."""
    label: Label
    """The class that is explained, predicted or not."""
    probability: float
    """Calibrated, of that class."""
    shares: Shares
    """Where the attribution lies."""
    version: str
    """Of the form of explanations."""
    fit: float | None = None
    """Of LIME: how well a straight line tells what the model says, R2."""


def draw_explanation(field: Image.Image, attribution: Attribution, caption: Caption) -> Image.Image:
    """Draw the field, its overlay, the scale and the caption.

    Args:
        field: In mode RGB, of any size and shape. The model saw it squeezed to a square; the
            attribution is stretched back.
        attribution: Of the pixels that the model saw, shape (224, 224), within [0, 1].
        caption: What is written below.

    Returns:
        In mode RGB.
    """
    original = _fit(field)
    overlay = draw_overlay(original, attribution)
    height = max(original.height, _LEAST_HEIGHT)
    lines = _lines(caption, is_empty=not attribution.any())
    total = _MARGIN + _TITLE_HEIGHT + height + _GAP + len(lines) * _LINE_HEIGHT + _MARGIN
    page = Image.new("RGB", (_WIDTH, total), _PAPER)
    draw = ImageDraw.Draw(page)
    top = _MARGIN + _TITLE_HEIGHT
    for number, (title, panel) in enumerate(
        (("Field", original), (NAMES[caption.method], overlay))
    ):
        draw.text((_left_of(number), _MARGIN), title, _INK, _FONT)
        left, upper, right, lower = _box(number, panel.size)
        page.paste(panel, (left, upper))
        # A white field would not be told from the page.
        draw.rectangle((left - 1, upper - 1, right, lower), outline=_FAINT)
    _draw_scale(page, _WIDTH - _MARGIN - _SCALE_WIDTH, top, height)
    for number, line in enumerate(lines):
        place = (_MARGIN, top + height + _GAP + number * _LINE_HEIGHT)
        draw.text(place, line, _INK if number == 0 else _FAINT, _FONT if number == 0 else _SMALL)
    return page


def overlay_in(picture: Image.Image, field: tuple[int, int]) -> Image.Image:
    """The overlay by itself, out of a picture that `draw_explanation` has made.

    Args:
        picture: The whole picture.
        field: Width and height, in pixels, of the image that was explained.
    """
    return picture.crop(_box(1, _fitted(field)))


def draw_overlay(field: Image.Image, attribution: Attribution) -> Image.Image:
    """Lay an attribution, shape (224, 224), over a field of any size; the result has its size."""
    stretched = np.asarray(
        Image.fromarray(attribution).resize(field.size, Image.Resampling.BILINEAR)
    )
    grey = np.asarray(field.convert("L"))
    blended = _blend(grey, stretched)
    blended[_outline(stretched >= 0.5)] = _LINE
    picture = Image.fromarray(blended)
    _hatch_corner(picture)
    return picture


def encode_png(picture: Image.Image, caption: Caption) -> bytes:
    """The picture as a PNG whose text chunks say what it shows; the same in, the same bytes out."""
    said = PngImagePlugin.PngInfo()
    texts = {
        "Method": caption.method,
        "Model": caption.model,
        "Label": caption.label,
        "Version": caption.version,
        "Disclaimer": ENGLISH.disclaimer,
    }
    for keyword, text in texts.items():
        said.add_text(keyword, str(text))
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=said, compress_level=_COMPRESSION)
    return file.getvalue()


def _left_of(panel: int) -> int:
    return _MARGIN + panel * (PANEL + _GAP)


def _box(panel: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in pixels, of a panel of this size in the picture."""
    width, height = size
    left = _left_of(panel) + (PANEL - width) // 2
    top = _MARGIN + _TITLE_HEIGHT + (max(height, _LEAST_HEIGHT) - height) // 2
    return left, top, left + width, top + height


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    scale = PANEL / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _fit(field: Image.Image) -> Image.Image:
    return field.resize(_fitted(field.size), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _blend(grey: NDArray[np.uint8], attribution: Attribution) -> Pixels:
    """Colours over grey, shape (...) to (..., 3)."""
    opacity = (LARGEST_OPACITY * attribution)[..., np.newaxis]
    light = grey[..., np.newaxis] / np.float32(255)
    colour = coloured(attribution) * (1 - SHADING + SHADING * light)
    dim = DIMMED * 255 * np.sqrt(light)  # the root keeps the darkest nuclei from being black
    return to_pixels(dim * (1 - opacity) + colour * opacity)


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels within that have one outside above, below, left or right of them."""
    padded = np.pad(inside, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~inner


def _hatch_corner(picture: Image.Image) -> None:
    """Mark the corner that no model sees."""
    width, height = (round(side * MASK_SIZE / INPUT_SIZE) for side in picture.size)
    corner = Image.new("L", (max(width, 1), max(height, 1)), 60)
    draw = ImageDraw.Draw(corner)
    for start in range(-corner.height, corner.width, 10):
        draw.line((start, corner.height, start + corner.height, 0), 120)
    picture.paste(
        corner.convert("RGB"), (picture.width - corner.width, picture.height - corner.height)
    )


def _draw_scale(page: Image.Image, left: int, top: int, height: int) -> None:
    """The colours as they look on plasma, 1 above and 0 below, with three ticks."""
    levels = np.linspace(1, 0, height, dtype=np.float32)[:, np.newaxis]
    bar = _blend(
        np.full((height, _BAR_WIDTH), _PLASMA, dtype=np.uint8), levels.repeat(_BAR_WIDTH, 1)
    )
    page.paste(Image.fromarray(bar), (left, top))
    draw = ImageDraw.Draw(page)
    right = left + _BAR_WIDTH
    draw.rectangle((left, top, right - 1, top + height - 1), outline=_FAINT)
    for text, share in (("1", 0.0), ("0.5", 0.5), ("0", 1.0)):
        level = top + round(share * (height - 1))
        draw.line((left if text == "0.5" else right, level, right + 4, level), _INK)
        draw.text((right + 8, level), text, _INK, _SMALL, anchor="lm")


def _lines(caption: Caption, *, is_empty: bool) -> tuple[str, ...]:
    said = f"{ENGLISH.display[caption.label]}, probability {caption.probability:.3f}"
    where = (
        "No part of the field speaks for this class."
        if is_empty
        else f"{caption.shares.on_cells:.1%} of it lies on stained cells, which are "
        f"{caption.shares.chance:.1%} of what the model saw."
    )
    fit = "" if caption.fit is None else f" Fit of LIME (R2, 1 is all): {caption.fit:.2f}."
    return (
        f"{NAMES[caption.method]} of {caption.model}: {said}",
        f"Colour: {_COLOUR[caption.method]}, relative to the most; the line is at 0.5. "
        "It is no outline of disease.",
        f"{where}{fit}",
        f"{_CORNER} {ENGLISH.disclaimer.capitalize()}.",
    )
