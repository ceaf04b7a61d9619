"""Values of DateTime (PS3.5, section 6.2: DT), whole or cut off behind any part."""

from __future__ import annotations

import datetime as dt
import re

from shared.errors import BadRequestError

_DT = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?)?)?)?"
    r"([+-]\d{4})?",
    re.ASCII,
)
_MOST_OFFSET = dt.timedelta(hours=14)  # PS3.5, section 6.2: -1200 to +1400


def written(at: dt.datetime) -> str:
    """A moment as a value of DT, in UTC."""
    return at.astimezone(dt.UTC).strftime("%Y%m%d%H%M%S.%f+0000")


def moment(text: str) -> dt.datetime:
    """The first moment that a value names; in UTC where it says no offset.

    Raises:
        BadRequestError: It is no value of DT.
    """
    return _interval(text)[0]


def span(text: str) -> tuple[dt.datetime | None, dt.datetime | None]:
    """From when, inclusive, to when, exclusive, a value or a range goes; None: without end.

    Range matching: PS3.4, section C.2.2.2.5. A value that is cut off stands for all that it leaves
    open: a day, a month. A hyphen before what may be an offset from UTC begins an offset.

    Raises:
        BadRequestError: It is neither a value of DT nor a range of them.
    """
    try:
        return _interval(text)
    except BadRequestError:
        # The hyphens of offsets have no values on both sides; that of the range has.
        for at in (found.start() for found in re.finditer("-", text)):
            first, last = text[:at], text[at + 1 :]
            if (first or last) and _is_whole(first) and _is_whole(last):
                return moment(first) if first else None, _interval(last)[1] if last else None
        raise


def _is_whole(text: str) -> bool:
    return not text or _DT.fullmatch(text) is not None


def _interval(text: str) -> tuple[dt.datetime, dt.datetime]:
    found = _DT.fullmatch(text)
    if found is None:
        raise BadRequestError("Expected a date and time of DICOM, or a range of them.")
    *parts, fraction, offset = found.groups()
    year, month, day, hour, minute, second = (None if part is None else int(part) for part in parts)
    try:
        start = dt.datetime(
            year or 0,
            month or 1,
            day or 1,
            hour or 0,
            minute or 0,
            min(second or 0, 59),  # 60 is a leap second
            int((fraction or "0").ljust(6, "0")),
            _zone(offset),
        )
        return start, _end(start, month, day, hour, minute, second, fraction)
    except (ValueError, OverflowError) as error:
        raise BadRequestError("There is no such date and time.") from error


def _end(start: dt.datetime, *given: int | str | None) -> dt.datetime:
    """The first moment behind what the parts that are given name."""
    month, day, hour, minute, second, fraction = given
    if month is None:
        return start.replace(year=start.year + 1)
    if day is None:
        return (start + dt.timedelta(days=31)).replace(day=1)
    if fraction is not None:
        return start + dt.timedelta(microseconds=10 ** (6 - len(str(fraction))))
    finest = {"hours": hour, "minutes": minute, "seconds": second}
    named = [unit for unit, value in finest.items() if value is not None]
    return start + dt.timedelta(**{named[-1] if named else "days": 1})


def _zone(offset: str | None) -> dt.timezone:
    if offset is None:
        return dt.UTC
    shift = dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
    if shift > _MOST_OFFSET:
        raise ValueError("no such offset")
    return dt.timezone(shift if offset[0] == "+" else -shift)
