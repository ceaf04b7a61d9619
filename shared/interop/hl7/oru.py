"""A result as an HL7 v2.5.1 message ORU^R01: an unsolicited observation (section 7.3.1).

Segments: MSH, SFT, PID where there is a pseudonym, ORC, OBR with NTE, OBX of the job, OBX of each
field, SPM where there is a specimen. The sub-id OBX-4 is empty for the job, and the index of a
field, from 0, for a field; the texts of the job count fields from 1. A number is a NM of at most
16 characters (chapter 2A).
"""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared import __version__
from shared.interop import codes
from shared.interop.codes import Concept
from shared.interop.hl7.er7 import components, escaped, header, message, repeated, segment
from shared.interop.results import SOFTWARE, result_of
from shared.jobs.entities import Job
from shared.orders.entities import Order
from shared.triage.labels import LABELS
from shared.triage.result import FieldResult, TriageResult
from shared.triage.wording import Language
from shared.triage.wording.fields import reasons_to_read

_PRELIMINARY = "P"
"""OBR-25 and OBX-11, tables 0123 and 0085: nobody has verified it, whatever reviews say."""
_DIGITS = 6


@dataclass(frozen=True)
class _Observation:
    """One OBX; `value` is encoded already."""

    value_type: str
    concept: Concept
    value: str
    part: str = ""
    flag: Concept | None = None
    unit: Concept | None = None


def control_id_of(event: uuid.UUID) -> str:
    """20 characters for MSH-10, the most that HL7 v2.5.1 has room for (section 2.15.9.10).

    They are the first 100 of the 128 bits of an event's id, in base 32: an event keeps its own.
    """
    return base64.b32encode(event.bytes).decode()[:20]


def oru_r01(
    job: Job,
    *,
    control_id: str,
    sending: str = "HEMOTRIAGE",
    receiving: str = "",
    language: Language = Language.ENGLISH,
    order: Order | None = None,
) -> str:
    r"""Write the result of a job as ORU^R01.

    The same arguments give the same message, its time included: that of the result.

    Args:
        job: A job with a result.
        control_id: MSH-10, which the receiver's acknowledgement repeats; see `control_id_of`.
        sending: MSH-3.
        receiving: MSH-5; where it is empty, the placer of the order is MSH-5 and MSH-6.
        language: Of the texts.
        order: That of the job, whose numbers and code are repeated to its placer.

    Returns:
        ER7 with `\r` after each segment, to be sent as UTF-8.

    Raises:
        NoResultError: The job has no result.
    """
    result = result_of(job, language)
    observed = _observations(result, reasons_to_read(result, language))
    return message(
        (
            _msh(result, control_id, sending, _receiver(receiving, order), language),
            segment("SFT", {1: SOFTWARE, 2: __version__, 3: SOFTWARE, 4: escaped(job.model)}),
            *_pid(job),
            segment("ORC", {1: "RE", **_order_numbers(job, order)}),
            _obr(job, result, order),
            *_notes(result),
            *(_obx(at, job, result, one) for at, one in enumerate(observed, 1)),
            *_spm(job),
        )
    )


def _msh(
    result: TriageResult,
    control_id: str,
    sending: str,
    receiver: dict[int, str],
    language: Language,
) -> str:
    return header(
        {
            3: components(sending),
            **receiver,
            7: _timestamp(result.created_at),
            9: components("ORU", "R01", "ORU_R01"),
            10: escaped(control_id),
            11: "P",  # production (table 0103)
            12: "2.5.1",
            18: "UNICODE UTF-8",  # table 0211
            19: components(language, language.name.capitalize(), "ISO639"),
        }
    )


def _pid(job: Job) -> Iterator[str]:
    """A pseudonym alone; a name of type S stands for none (table 0200, pseudonym)."""
    if job.patient_ref is not None:
        name = components(None, None, None, None, None, None, "S")
        yield segment("PID", {1: "1", 3: components(job.patient_ref), 5: name})


def _receiver(named: str, order: Order | None) -> dict[int, str]:
    """MSH-5 and MSH-6: an application and its facility (section 2.15.9.5)."""
    if named or order is None or order.placer is None:
        return {5: components(named)}
    application, _, facility = order.placer.partition("|")
    return {5: components(application), 6: components(facility)}


def _order_numbers(job: Job, order: Order | None) -> dict[int, str]:
    """Placer's and filler's number (section 4.5.1.2): ORC-2 and ORC-3, OBR-2 and OBR-3.

    Without an order that says them, the laboratory placed it under its accession number, and the
    job has filled it.
    """
    placer = (order and order.placer_number) or job.accession_number
    filler = order and order.filler_number
    return {
        2: components(placer),
        3: components(filler) if filler else components(str(job.id), "HEMOTRIAGE"),
    }


def _examined(order: Order | None) -> str:
    """What was ordered, as its placer codes it (OBR-4, section 4.5.3.4), and what it is here."""
    if order is None or order.procedure_code is None:
        return _coded(codes.SMEAR_REPORT, codes.TRIAGE)
    ours = codes.SMEAR_REPORT
    return components(
        *(order.procedure_code, None, order.procedure_system),
        *(ours.code, ours.display, ours.system.hl7),
    )


def _obr(job: Job, result: TriageResult, order: Order | None) -> str:
    return segment(
        "OBR",
        {
            1: "1",
            **_order_numbers(job, order),
            4: _examined(order),
            7: _timestamp(job.submitted_at),
            22: _timestamp(result.created_at),
            24: codes.HAEMATOLOGY.code,
            25: _PRELIMINARY,
        },
    )


def _notes(result: TriageResult) -> Iterator[str]:
    for at, text in enumerate((result.disclaimer, result.limits), 1):
        yield segment("NTE", {1: str(at), 2: "O", 3: escaped(text)})


def _spm(job: Job) -> Iterator[str]:
    if job.specimen_id is not None:
        kind = _coded(codes.WHOLE_BLOOD)
        yield segment("SPM", {1: "1", 2: components(job.specimen_id), 4: kind})


def _observations(result: TriageResult, reasons: Sequence[str]) -> Iterator[_Observation]:
    yield from _of_part(result, "", reasons)
    review = components("Y" if result.requires_review else "N", None, "HL70136")
    yield _Observation("CWE", codes.REVIEW, review)
    for field in result.images:
        yield from _of_part(field, str(field.index), field.reason_texts)
        yield from _of_field(field)


def _of_part(
    part: TriageResult | FieldResult, index: str, to_read: Sequence[str]
) -> Iterator[_Observation]:
    """What a job and a field have alike; `to_read` is what a person reads for each reason."""
    pattern = _coded(codes.PATTERNS[part.prediction], text=part.display)
    yield _Observation("CWE", codes.PATTERN, pattern, index)
    for label in LABELS:
        yield _number(codes.PROBABILITIES[label], part.probabilities[label], index)
    yield _number(codes.P_ALL, part.p_malignant, index)
    flag = codes.flag(part.urgency, requires_review=part.requires_review)
    urgency = _coded(codes.URGENCIES[part.urgency])
    yield _Observation("CWE", codes.URGENCY, urgency, index, flag=flag)
    yield _Observation("ST", codes.ACTION, escaped(part.recommended_action), index)
    yield _Observation("ST", codes.TIMELINE, escaped(part.timeline), index)
    if part.reasons:
        said = zip(part.reasons, to_read, strict=True)
        reasons = (_coded(codes.reason(code, text), text=text) for code, text in said)
        yield _Observation("CWE", codes.REASON, repeated(reasons), index)


def _of_field(field: FieldResult) -> Iterator[_Observation]:
    index = str(field.index)
    if field.unlikeness is not None:
        yield _number(codes.UNLIKENESS, field.unlikeness, index)
    for name, concept in codes.QUALITY.items():
        if name in field.quality:
            yield _number(concept, field.quality[name], index)


def _number(concept: Concept, value: float, index: str) -> _Observation:
    # Six decimals keep any probability apart from 0 and 1 that a policy could.
    text = f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")
    return _Observation("NM", concept, text, index, unit=codes.NO_UNIT)


def _obx(at: int, job: Job, result: TriageResult, one: _Observation) -> str:
    return segment(
        "OBX",
        {
            1: str(at),
            2: one.value_type,
            3: _coded(one.concept),
            4: one.part,
            5: one.value,
            6: _coded(one.unit) if one.unit else "",
            8: one.flag.code if one.flag else "",
            11: _PRELIMINARY,
            14: _timestamp(job.submitted_at),
            18: components(job.model, SOFTWARE),
            19: _timestamp(result.created_at),
        },
    )


def _coded(concept: Concept, beside: Concept | None = None, *, text: str | None = None) -> str:
    """CE or CWE: code, text and system, then those of another code of the same meaning."""
    both = [concept] if beside is None else [concept, beside]
    return components(
        *(part for one in both for part in (one.code, text or one.display, one.system.hl7))
    )


def _timestamp(moment: dt.datetime) -> str:
    """TS in UTC, to the second (chapter 2A)."""
    return f"{moment.astimezone(dt.UTC):%Y%m%d%H%M%S}+0000"
