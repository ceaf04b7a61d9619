r"""Reads HL7 version 2 messages in ER7 (HL7 v2.5.1 section 2.5), and says what is wrong with one.

Only the segments of `READ` are looked at, and of these only the fields that somebody asks for.

The `hl7` library's own accessors are not used: they write a value whose escapes they do not know
into the log, which would be a patient's name, and make a text of any size of `\.sp999999999\`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

READ = frozenset({"MSH", "PID", "ORC", "TQ1", "OBR", "SPM"})
"""The segments that are looked at. Notes, kin, insurance and observations are passed over."""

CHARSETS = {"": "ascii", "ASCII": "ascii", "8859/1": "latin-1", "UNICODE UTF-8": "utf-8"}
"""MSH-18 by table 0211, as Python names them; a message that says nothing is ASCII."""

_HEADER = re.compile(r"MSH([^\w\s\"])([^\w\s\"]{4,5})\1", re.ASCII)
_ESCAPED = re.compile(r"X(?:[2-7][0-9A-Fa-f])+", re.ASCII)
_NULL = '""'  # HL7 v2.5.1 section 2.5.3: the field is to be emptied


class Condition(Enum):
    """What is wrong with a message: HL7 v2.5.1 table 0357."""

    SEGMENT_SEQUENCE = ("100", "Segment sequence error")
    REQUIRED_FIELD_MISSING = ("101", "Required field missing")
    DATA_TYPE = ("102", "Data type error")
    TABLE_VALUE_NOT_FOUND = ("103", "Table value not found")
    UNSUPPORTED_MESSAGE_TYPE = ("200", "Unsupported message type")
    UNSUPPORTED_EVENT_CODE = ("201", "Unsupported event code")
    UNSUPPORTED_PROCESSING_ID = ("202", "Unsupported processing id")
    UNSUPPORTED_VERSION_ID = ("203", "Unsupported version id")
    UNKNOWN_KEY = ("204", "Unknown key identifier")
    DUPLICATE_KEY = ("205", "Duplicate key identifier")
    RECORD_LOCKED = ("206", "Application record locked")
    INTERNAL_ERROR = ("207", "Application internal error")

    @property
    def code(self) -> str:
        """The code in the table."""
        return self.value[0]

    @property
    def text(self) -> str:
        """Its meaning in the table."""
        return self.value[1]


class Hl7Error(Exception):
    """A message cannot be taken as it is.

    Attributes:
        condition: What is wrong.
        place: Where: segment, its number among those of its kind, and field; empty: everywhere.
        hint: What to do about it. Never a value of the message, which may name a patient.
    """

    def __init__(
        self, condition: Condition, place: tuple[str, int, int] | None = None, hint: str = ""
    ) -> None:
        self.condition = condition
        self.place = place
        self.hint = hint
        super().__init__(self.code)

    @property
    def code(self) -> str:
        """The stable code, such as `hl7_required_field_missing`."""
        return f"hl7_{self.condition.name.lower()}"


@dataclass(frozen=True)
class Delimiters:
    """MSH-1 and the first four characters of MSH-2."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    def unescape(self, text: str) -> str:
        """A text with its delimiters and hexadecimal characters (HL7 v2.5.1 section 2.7).

        Raises:
            ValueError: It has another escape, which no identifier and no code needs.
        """
        pieces = text.split(self.escape)
        if len(pieces) % 2 == 0:
            raise ValueError("an escape does not end")
        meanings = {
            "F": self.field,
            "S": self.component,
            "R": self.repetition,
            "E": self.escape,
            "T": self.subcomponent,
        }
        for at in range(1, len(pieces), 2):
            if _ESCAPED.fullmatch(pieces[at]):
                pieces[at] = bytes.fromhex(pieces[at][1:]).decode("ascii")
            elif pieces[at] in meanings:
                pieces[at] = meanings[pieces[at]]
            else:
                raise ValueError("an unknown escape")
        return "".join(pieces)


@dataclass(frozen=True)
class Segment:
    """One segment; `number` counts those of its kind from 1, as ERR-2 does."""

    name: str
    number: int
    fields: tuple[str, ...]
    delimiters: Delimiters

    def value(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """A part of the first repetition of a field, by positions from 1; empty where it is not.

        Raises:
            Hl7Error: It is not in the message's character set, or has an escape that is not taken.
        """
        return next(self.values(field, component, subcomponent))

    def values(self, field: int, component: int = 1, subcomponent: int = 1) -> Iterator[str]:
        """The same part of each repetition of a field; there is at least one.

        Raises:
            Hl7Error: As of `value`.
        """
        text = self.fields[field] if field < len(self.fields) else ""
        for repetition in text.split(self.delimiters.repetition):
            yield self._part(repetition, field, component, subcomponent)

    def error(self, condition: Condition, field: int, hint: str = "") -> Hl7Error:
        """What is wrong with a field of this segment."""
        return Hl7Error(condition, (self.name, self.number, field), hint)

    def _part(self, text: str, field: int, component: int, subcomponent: int) -> str:
        for position, delimiter in (
            (component, self.delimiters.component),
            (subcomponent, self.delimiters.subcomponent),
        ):
            parts = text.split(delimiter)
            text = parts[position - 1] if position <= len(parts) else ""
        text = text.strip()
        if text == _NULL:
            return ""
        try:
            # What was no character of the character set is a lone surrogate, which has no UTF-8.
            text.encode()
            return self.delimiters.unescape(text)
        except ValueError:
            raise self.error(Condition.DATA_TYPE, field) from None


@dataclass(frozen=True)
class Message:
    """A message whose header was read; `segments` are those of `READ`, without the header."""

    header: Segment
    segments: tuple[Segment, ...]
    charset: str
    """As Python names it; what it has no characters for is kept as lone surrogates."""


def read_message(data: bytes) -> Message:
    r"""Read a message. Its segments end with `\r`; `\n` and `\r\n` are understood.

    Raises:
        Hl7Error: It does not begin as a message does.
    """
    lines = data.decode("latin-1").replace("\r\n", "\r").replace("\n", "\r").split("\r")
    header = _header(lines[0].lstrip())
    charset = CHARSETS.get(header.value(18).upper(), "ascii")
    segments = tuple(_segments(lines, header.delimiters, charset))
    if [segment for segment in segments[1:] if segment.name == "MSH"]:
        raise Hl7Error(Condition.SEGMENT_SEQUENCE, ("MSH", 2, 0), "One message in a frame.")
    return Message(segments[0], segments[1:], charset)


def _header(line: str) -> Segment:
    begins = _HEADER.match(line)
    if begins is None:
        raise Hl7Error(Condition.SEGMENT_SEQUENCE, ("MSH", 1, 0), "A message begins with MSH.")
    separator, encoding = begins.groups()
    if len({separator, *encoding}) != 1 + len(encoding):
        raise Hl7Error(Condition.DATA_TYPE, ("MSH", 1, 2), "Each delimiter is another character.")
    delimiters = Delimiters(separator, *tuple(encoding)[:4])
    return _segment(line, 1, delimiters)


def _segments(lines: list[str], delimiters: Delimiters, charset: str) -> Iterator[Segment]:
    numbers: Counter[str] = Counter()
    for line in lines:
        name = line.split(delimiters.field, 1)[0].strip()
        if name in READ:
            numbers[name] += 1
            text = line.lstrip().encode("latin-1").decode(charset, errors="surrogateescape")
            yield _segment(text, numbers[name], delimiters)


def _segment(line: str, number: int, delimiters: Delimiters) -> Segment:
    fields = line.split(delimiters.field)
    if fields[0] == "MSH":
        fields.insert(1, delimiters.field)  # MSH-1 is the separator itself
    return Segment(fields[0], number, tuple(fields), delimiters)
