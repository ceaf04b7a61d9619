"""Acknowledges HL7 messages in original mode: the general acknowledgement (HL7 v2.5.1 2.9.2).

MSA-1 tells a sender what to do next: AA, it is done; AE, what the message says is wrong, and stays
so; AR, it is rejected for what it is or for how things stand here, and may be taken later (sections
2.9.2.1 and 2.9.2.2). They are the two halves of table 0357: errors are 1xx, rejections 2xx. The
standard leaves it to each site what is sent again; ERR-3 tells them apart, and 207 passes.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from shared.interop.codes import LOCAL
from shared.interop.hl7.er7 import components, escaped, header, message, segment
from shared.interop.hl7.oru import control_id_of
from shared.interop.hl7.read import Condition, Hl7Error, Message


class Acknowledgement(StrEnum):
    """MSA-1, table 0008."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


@dataclass(frozen=True)
class Refusal:
    """Why a message was not taken: ERR."""

    condition: Condition
    code: str
    """The stable code of the error, for ERR-5 and MSA-3."""
    place: tuple[str, int, int] | None = None
    hint: str = ""

    @classmethod
    def of(cls, error: Hl7Error) -> Refusal:
        """What is wrong with a message."""
        return cls(error.condition, error.code, error.place, error.hint)

    @property
    def acknowledgement(self) -> Acknowledgement:
        """MSA-1."""
        is_error = self.condition.code.startswith("1")
        return Acknowledgement.ERROR if is_error else Acknowledgement.REJECT


def acknowledge(asked: Message | None, refusal: Refusal | None, *, at: dt.datetime) -> bytes:
    """Write the acknowledgement of a message, in its character set and of its version.

    Args:
        asked: The message; None where it could not be read as far as its header.
        refusal: Why it was not taken; None: it was.
        at: Now.

    Returns:
        ER7, ready for a frame.
    """
    accepted = Acknowledgement.ACCEPT if refusal is None else refusal.acknowledgement
    segments = [
        _msh(asked, at),
        segment(
            "MSA",
            {
                1: accepted,
                2: components(_echo(asked, 10)),
                # All that versions before 2.5 read of what was wrong.
                **({3: components(refusal.code)} if refusal else {}),
            },
        ),
    ]
    if refusal is not None:
        segments.append(_err(refusal))
    charset = "ascii" if asked is None else asked.charset
    # What is repeated of the message goes back as the bytes that it came in.
    return message(segments).encode(charset, errors="surrogateescape")


def _msh(asked: Message | None, at: dt.datetime) -> str:
    # Who received it sends now: MSH-5 and 6 become MSH-3 and 4.
    turned = {
        to: components(*(_echo(asked, of, part) for part in (1, 2, 3)))
        for to, of in {3: 5, 4: 6, 5: 3, 6: 4}.items()
    }
    event = _echo(asked, 9, 2)
    return header(
        {
            **turned,
            7: f"{at.astimezone(dt.UTC):%Y%m%d%H%M%S}+0000",
            9: components("ACK", event, "ACK" if event else None),
            10: control_id_of(uuid.uuid4()),
            11: components(_echo(asked, 11) or "P"),
            12: components(_echo(asked, 12) or "2.5.1"),
            18: components(_echo(asked, 18)),
        }
    )


def _err(refusal: Refusal) -> str:
    place = ""
    if refusal.place is not None:
        name, number, field = refusal.place
        # Field 0 is none: the whole segment is meant.
        place = components(name, str(number), str(field) if field else None)
    condition = refusal.condition
    return segment(
        "ERR",
        {
            2: place,
            3: components(condition.code, condition.text, "HL70357"),
            4: "E",  # table 0516
            5: components(refusal.code, None, LOCAL.hl7),
            8: escaped(refusal.hint),
        },
    )


def _echo(asked: Message | None, field: int, component: int = 1) -> str:
    """A part of the header as it came; empty where it cannot be read."""
    try:
        return "" if asked is None else asked.header.value(field, component)
    except Hl7Error:
        return ""
