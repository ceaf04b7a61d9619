"""Sets documents as PDF: type, tables, and what stands on each page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import reportlab
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Table

_MARGIN, _PADDING = 18 * mm, 6  # the padding is that of a frame of ReportLab

WIDTH = A4[0] - 2 * _MARGIN
"""Of what stands on a page, in points."""

INKS = {"urgent": "#a4133c", "priority": "#8a4b00", "review": "#075985", "routine": "#14632f"}
"""By urgency; each has a contrast of 4.5 or more on white (WCAG 2.2, 1.4.3)."""

_REGULAR, _BOLD = "Vera", "VeraBd"
_GREY, _LINE = colors.HexColor("#55505c"), colors.HexColor("#d0ccd6")
_STYLES = {
    name: ParagraphStyle(name, fontName=font, fontSize=size, leading=1.3 * size, textColor=ink)
    for name, font, size, ink in (
        ("title", _BOLD, 15, colors.black),
        ("heading", _BOLD, 10, colors.black),
        ("verdict", _BOLD, 13, colors.black),
        ("text", _REGULAR, 8.5, colors.black),
        ("strong", _BOLD, 8.5, colors.black),
        ("quiet", _REGULAR, 7.5, _GREY),
    )
}
_GRID = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 5),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
]


@dataclass(frozen=True)
class Document:
    """What is to be set: `head` and `foot` stand on each page; texts are plain."""

    title: str
    head: str
    foot: Sequence[str]
    body: Sequence[Flowable]


def render(document: Document) -> bytes:
    """Set a document; it needs no request, and may take seconds."""
    file = io.BytesIO()
    template = SimpleDocTemplate(
        file,
        pagesize=A4,
        title=document.title,
        author="hemotriage",
        leftMargin=_MARGIN - _PADDING,
        rightMargin=_MARGIN - _PADDING,
        topMargin=22 * mm,
        bottomMargin=24 * mm,
    )

    def around(canvas: Any, _: Any) -> None:
        _set_around(canvas, document)

    template.build(list(document.body), onFirstPage=around, onLaterPages=around)
    return file.getvalue()


def text(said: object, style: str = "text", *, ink: str | None = None) -> Paragraph:
    """A paragraph of plain text."""
    marked = escape(_printable(str(said)))
    if ink is not None:
        marked = f'<font color="{ink}">{marked}</font>'
    return Paragraph(marked, _STYLES[style])


def table(
    rows: Sequence[Sequence[object]],
    shares: Sequence[float],
    *,
    head: bool = True,
    width: float = WIDTH,
) -> Table:
    """A table.

    Args:
        rows: Texts, or what is set already.
        shares: Of the width, by column.
        head: Whether the first row names the columns.
        width: Of the whole, in points.
    """
    cells = [
        [
            cell
            if isinstance(cell, Flowable)
            else text(cell, "quiet" if head and not row else "text")
            for cell in cells
        ]
        for row, cells in enumerate(rows)
    ]
    whole = sum(shares)
    return Table(
        cells, colWidths=[width * share / whole for share in shares], style=_GRID, hAlign="LEFT"
    )


def picture(data: bytes, *, width: float, height: float) -> Image:
    """An image as large as it may be; the width and the height are in points."""
    image = Image(io.BytesIO(data), hAlign="LEFT")
    scale = min(width / image.imageWidth, height / image.imageHeight)
    image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
    return image


def beside(*cells: object, shares: Sequence[float]) -> Table:
    """What stands side by side."""
    widths = [WIDTH * share / sum(shares) for share in shares]
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
    return Table([list(cells)], colWidths=widths, style=style, hAlign="LEFT")


def _set_around(canvas: Any, document: Document) -> None:
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(_GREY)
    canvas.setStrokeColor(_LINE)
    canvas.setFont(_BOLD, 8)
    canvas.drawString(_MARGIN, height - 14 * mm, "hemotriage")
    canvas.setFont(_REGULAR, 8)
    canvas.drawRightString(width - _MARGIN, height - 14 * mm, _printable(document.head))
    canvas.line(_MARGIN, height - 17 * mm, width - _MARGIN, height - 17 * mm)
    canvas.line(_MARGIN, 21 * mm, width - _MARGIN, 21 * mm)
    canvas.setFont(_REGULAR, 7)
    for number, line in enumerate(document.foot):
        canvas.drawString(_MARGIN, (17 - 4 * number) * mm, _printable(line))
    canvas.drawRightString(width - _MARGIN, 9 * mm, str(canvas.getPageNumber()))
    canvas.restoreState()


def _printable(said: str) -> str:
    """A text whose characters the font has; others stand as U+XXXX, so that none is lost."""
    known = pdfmetrics.getFont(_REGULAR).face.charToGlyph
    return "".join(one if ord(one) in known else f"[U+{ord(one):04X}]" for one in said)


def _register() -> None:
    folder = Path(reportlab.__file__).parent / "fonts"
    for name in (_REGULAR, _BOLD):
        pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))


_register()
