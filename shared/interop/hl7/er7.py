"""Encodes HL7 version 2 messages: ER7, the form with bars (HL7 v2.5.1 section 2.6).

The `hl7` library reads such messages, but its `escape` writes what is beyond ASCII by its code
point, of any number of digits, which is no escape of the standard and which it does not read back.
"""

from __future__ import annotations

from collections.abc import Iterable

_ENCODING = "^~\\&"
"""MSH-2: component, repetition, escape and subcomponent."""
_ESCAPES = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
_CONTROLS = {chr(code): f"\\X{code:02X}\\" for code in (*range(0x20), 0x7F)}
_TABLE = str.maketrans({**_ESCAPES, **_CONTROLS})

Value = str | None


def escaped(text: str) -> str:
    r"""A text without delimiters and control characters (HL7 v2.5.1 section 2.7).

    A delimiter becomes its letter, a control character its hexadecimal `\Xdd\`. What is beyond
    ASCII stays: MSH-18 says that the message is UTF-8.
    """
    return text.translate(_TABLE)


def components(*values: Value) -> str:
    """A field, or one repetition of it, of components that are texts; None leaves one empty."""
    return "^".join(escaped(value or "") for value in values).rstrip("^")


def repeated(repetitions: Iterable[str]) -> str:
    """A field of several values that are encoded already."""
    return "~".join(repetitions)


def segment(name: str, fields: dict[int, str]) -> str:
    """A segment of encoded fields, by their positions from 1; what is not given is empty."""
    last = max(fields, default=0)
    return "|".join((name, *(fields.get(position, "") for position in range(1, last + 1))))


def header(fields: dict[int, str]) -> str:
    """The segment MSH, of the fields from 3 on; the first two are the delimiters themselves."""
    return segment("MSH", {1: _ENCODING, **{at - 1: value for at, value in fields.items()}})


def message(segments: Iterable[str]) -> str:
    """A message: each segment ends with a carriage return (HL7 v2.5.1 section 2.5.4)."""
    return "".join(f"{one}\r" for one in segments)
