"""Texts that are matched as DICOM matches them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement

_PATTERN = str.maketrans({"\\": "\\\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"})


def matches(column: Any, text: str) -> ColumnElement[bool]:
    """Wild card matching, or of one value (DICOM PS3.4 sections C.2.2.2.1 and C.2.2.2.4).

    Args:
        column: Of texts.
        text: In it `*` stands for any characters and `?` for one.
    """
    if "*" in text or "?" in text:
        return column.like(text.translate(_PATTERN), escape="\\")  # type: ignore[no-any-return]
    return column == text  # type: ignore[no-any-return]
