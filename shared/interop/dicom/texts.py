"""Texts that a value of DICOM has room for (PS3.5, table 6.2-1)."""

from __future__ import annotations

LONGEST_SH, LONGEST_LO = 16, 64


def fitting(text: str | None, longest: int) -> str:
    """A text, or none where DICOM has no room for it: an identifier that is cut is another's."""
    fits = text is not None and len(text) <= longest and "\\" not in text and text.isprintable()
    return text if text and fits else ""
