"""Orders out of HL7 messages: ORM^O01, OML^O21, OML^O33 and OML^O35 (HL7 v2.5.1 chapter 4).

A group of a message begins with ORC and is one order. In ORM^O01 and OML^O21 the specimens of an
order follow it; in OML^O33 and OML^O35 a specimen comes first, and the orders on it follow.

Of the patient the number and its assigning authority are read, and a pseudonym is made of them: by
IHE RAD TF-2 appendix B they are what DICOM has as PatientID and IssuerOfPatientID.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from shared.gateway_settings import AccessionField
from shared.interop.dicom.deidentify import pseudonym
from shared.interop.hl7.read import CHARSETS, Condition, Hl7Error, Message, Segment
from shared.jobs.states import Priority
from shared.orders.entities import NewOrder, checked
from shared.orders.states import OrderFieldError

MAX_ORDERS = 100

VERSIONS = frozenset(
    ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8")
)
_EVENTS = {"ORM": {"O01"}, "OML": {"O21", "O33", "O35"}}
_SPECIMEN_FIRST = {"O33", "O35"}

# ORC-1, table 0119.
_PLACES = {"NW", "XO"}
_CANCELS = {"CA", "DC"}

# TQ1-9 and the sixth component of TQ, table 0485; HL7 v2.5.1 sections 4.5.4.9 and 2.A.81.6.
_PRIORITIES = {
    "S": Priority.STAT,
    "A": Priority.URGENT,
    "P": Priority.URGENT,
    "R": Priority.ROUTINE,
}

_Place = tuple[str, int, int]
"""Segment, field and component."""

# Of a pair of numbers that the placer and the filler gave (EIP), the placer's comes first.
_SPECIMEN: tuple[_Place, ...] = (("SPM", 2, 1), ("SPM", 2, 2))
# ORC and OBR repeat these two, and either may leave them out (sections 4.5.1.2 and 4.5.1.3).
_PLACER: tuple[_Place, ...] = (("ORC", 2, 1), ("OBR", 2, 1))
_FILLER: tuple[_Place, ...] = (("ORC", 3, 1), ("OBR", 3, 1))
_ACCESSION: dict[AccessionField, tuple[_Place, ...]] = {
    "ORC-2": _PLACER,
    "ORC-3": _FILLER,
    "OBR-2": (("OBR", 2, 1),),
    "OBR-3": (("OBR", 3, 1),),
    "OBR-18": (("OBR", 18, 1),),
    "SPM-2": _SPECIMEN,
}

# Where a time is, and where it was before v2.5: TQ1-7, ORC-7.4, OBR-27.4, OBR-36.
_SCHEDULED = (("TQ1", 7, 1), ("ORC", 7, 4), ("OBR", 27, 4), ("OBR", 36, 1))
_PRIORITY = (("TQ1", 9, 1), ("ORC", 7, 6), ("OBR", 27, 6), ("OBR", 5, 1))

_TIME = re.compile(r"(\d{8})(?:(\d{2})(\d{2})?(\d{2})?)?(?:\.\d{1,4})?([+-]\d{4})?", re.ASCII)
_UTC = "+0000"


@dataclass(frozen=True)
class OrderRequest:
    """What a group of a message asks for; `orc` says where it stands in the message."""

    order: NewOrder
    cancels: bool
    orc: Segment


@dataclass
class _Group:
    orc: Segment
    specimens: list[Segment]
    obr: Segment | None = None
    timing: list[Segment] = field(default_factory=list)

    def named(self, name: str) -> Sequence[Segment]:
        """Its segments of a kind; of several specimens none, since no number stands for all."""
        return {
            "ORC": [self.orc],
            "OBR": [self.obr] if self.obr else [],
            "TQ1": self.timing,
            "SPM": self.specimens if len(self.specimens) == 1 else [],
        }[name]


def read_orders(
    message: Message, *, accession_field: AccessionField, secret: SecretStr | None
) -> tuple[OrderRequest, ...]:
    """What a message asks for, in its order.

    Args:
        message: Of any sender.
        accession_field: Where the accession number is.
        secret: Makes the pseudonym of the patient; without it there is none.

    Raises:
        Hl7Error: It is no message of orders in production, or a group of it cannot be understood.
            Nothing of it is to be done then.
    """
    _check_header(message)
    patient = _patient(message, secret)
    requests = [
        _request(group, message.header, accession_field, patient) for group in _groups(message)
    ]
    numbers = set()
    for request in requests:
        if request.order.accession_number in numbers:
            raise request.orc.error(Condition.DUPLICATE_KEY, 2, "Each order once in a message.")
        numbers.add(request.order.accession_number)
    return tuple(requests)


def _check_header(message: Message) -> None:
    header = message.header
    kind, event = header.value(9), header.value(9, 2)
    if kind not in _EVENTS:
        raise header.error(Condition.UNSUPPORTED_MESSAGE_TYPE, 9)
    if event not in _EVENTS[kind]:
        raise header.error(Condition.UNSUPPORTED_EVENT_CODE, 9)
    if header.value(11) != "P":
        raise header.error(Condition.UNSUPPORTED_PROCESSING_ID, 11, "Production (P) alone.")
    if header.value(12) not in VERSIONS:
        raise header.error(Condition.UNSUPPORTED_VERSION_ID, 12)
    if not header.value(10):
        raise header.error(Condition.REQUIRED_FIELD_MISSING, 10)
    if header.value(18).upper() not in CHARSETS:
        raise header.error(Condition.TABLE_VALUE_NOT_FOUND, 18, "ASCII, 8859/1 or UNICODE UTF-8.")


def _groups(message: Message) -> list[_Group]:
    first = message.header.value(9, 2) in _SPECIMEN_FIRST
    groups: list[_Group] = []
    before: list[Segment] = []
    for segment in message.segments:
        if segment.name == "ORC":
            groups.append(_Group(segment, list(before)))
        elif segment.name == "PID":
            # A second one tells of earlier results (PRIOR_RESULT): whose orders follow is not sure.
            if groups or segment.number > 1:
                raise _out_of_sequence(segment, "One patient in a message, before the orders.")
        elif segment.name == "SPM" and first:
            before = [segment]
        elif not groups:
            raise _out_of_sequence(segment, "It belongs to an ORC before it.")
        elif segment.name == "SPM":
            groups[-1].specimens.append(segment)
        elif segment.name == "TQ1":
            groups[-1].timing.append(segment)
        elif groups[-1].obr is not None:
            raise _out_of_sequence(segment, "One OBR for each ORC.")
        else:
            groups[-1].obr = segment
    if not 1 <= len(groups) <= MAX_ORDERS:
        raise Hl7Error(
            Condition.SEGMENT_SEQUENCE, ("ORC", 1, 0), f"1 to {MAX_ORDERS} orders in a message."
        )
    return groups


def _out_of_sequence(segment: Segment, hint: str) -> Hl7Error:
    return segment.error(Condition.SEGMENT_SEQUENCE, 0, hint)


def _patient(message: Message, secret: SecretStr | None) -> str | None:
    for segment in message.segments:
        if segment.name == "PID":
            return pseudonym(secret, segment.value(3), segment.value(3, 4))
    return None


def _request(
    group: _Group, header: Segment, accession_field: AccessionField, patient: str | None
) -> OrderRequest:
    control = group.orc.value(1)
    if not control:
        raise group.orc.error(Condition.REQUIRED_FIELD_MISSING, 1)
    if control not in _PLACES | _CANCELS:
        raise group.orc.error(Condition.TABLE_VALUE_NOT_FOUND, 1, "NW, XO, CA and DC alone.")
    sender = "|".join((header.value(3), header.value(4))).rstrip("|")
    order = NewOrder(
        accession_number=_accession(group, accession_field),
        priority=_priority(group),
        specimen_id=_first(group, _SPECIMEN),
        patient_ref=patient,
        procedure_code=_first(group, (("OBR", 4, 1),)),
        procedure_system=_first(group, (("OBR", 4, 3),)),
        placer=sender or None,
        placer_number=_first(group, _PLACER),
        filler_number=_first(group, _FILLER),
        scheduled_at=_scheduled(group, header),
    )
    try:
        return OrderRequest(checked(order), control in _CANCELS, group.orc)
    except OrderFieldError as error:
        # Its detail is names of our fields.
        raise group.orc.error(Condition.DATA_TYPE, 0, f"{error.detail}.") from None


def _accession(group: _Group, accession_field: AccessionField) -> str:
    places = _ACCESSION[accession_field]
    number = _first(group, places)
    if number is None:
        name, at, _ = places[0]
        raise Hl7Error(Condition.REQUIRED_FIELD_MISSING, (name, group.orc.number, at))
    return number


def _values(group: _Group, places: Sequence[_Place]) -> Iterator[tuple[str, Segment, int]]:
    """What is in the first of these places that has something: value, segment and field."""
    for name, at, component in places:
        found = [
            (value, one, at) for one in group.named(name) for value in one.values(at, component)
        ]
        if filled := [one for one in found if one[0]]:
            yield from filled
            return


def _first(group: _Group, places: Sequence[_Place]) -> str | None:
    return next((value for value, _, _ in _values(group, places)), None)


def _priority(group: _Group) -> Priority:
    """The most urgent that is named."""
    named = set()
    for value, segment, at in _values(group, _PRIORITY):
        if value not in _PRIORITIES:
            raise segment.error(Condition.TABLE_VALUE_NOT_FOUND, at, "S, A, P and R alone.")
        named.add(_PRIORITIES[value])
    return next((each for each in Priority if each in named), Priority.ROUTINE)


def _scheduled(group: _Group, header: Segment) -> dt.datetime | None:
    """The earliest time that is named."""
    zone = header.value(7)[-5:] if re.search(r"[+-]\d{4}$", header.value(7)) else _UTC
    times = [_moment(*each, zone) for each in _values(group, _SCHEDULED)]
    return min(times, default=None)


def _moment(text: str, segment: Segment, at: int, zone: str) -> dt.datetime:
    """A TS to the second (HL7 v2.5.1 section 2.A.77); without a zone it is in that of MSH-7."""
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day, hour, minute, second, own = found.groups("")
        moment = f"{day}{hour or '00'}{minute or '00'}{second or '00'}{own or zone}"
        return dt.datetime.strptime(moment, "%Y%m%d%H%M%S%z")
    except ValueError:
        raise segment.error(Condition.DATA_TYPE, at) from None
