"""The report of a case on paper: a page for the job, then one for each of its fields.

It knows a patient by the pseudonym alone. What tells results apart stands on every page: accession
number, job, time, and the disclaimer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, PageBreak, Spacer

from services.api.console.findings import measures
from services.api.console.pdf import INKS, WIDTH, Document, beside, picture, table, text
from services.api.console.words import language
from services.api.console.words import say as _
from shared.interop.sources import DicomSource
from shared.jobs.entities import Job, JobImage
from shared.triage.labels import LABELS
from shared.triage.policy import Urgency
from shared.triage.result import FieldResult, TriageResult
from shared.triage.wording.fields import reasons_to_read

_LISTED = 14
_GAP = Spacer(1, 4 * mm)


@dataclass(frozen=True)
class FieldOnPaper:
    """A field with its image as a JPEG, and with the overlay of Grad-CAM as a PNG if there is."""

    found: FieldResult
    image: JobImage
    source: DicomSource | None
    shown: bytes
    overlay: bytes | None


def report(
    job: Job, result: TriageResult, fields: Sequence[FieldOnPaper], made_at: dt.datetime
) -> Document:
    """Compose the report in the visitor's language; `services.api.console.pdf` sets it.

    Args:
        job: The job.
        result: Its result, in the visitor's language.
        fields: All fields of it.
        made_at: The time that is written on it.
    """
    name = job.accession_number or job.specimen_id or str(job.id)
    body: list[Flowable] = [*_job_page(job, result, fields)]
    for field in fields:
        body += [PageBreak(), *_field_page(field, len(fields))]
    return Document(
        title=_("Triage report {name}", name=name),
        head=_("Triage report {name}", name=name),
        foot=(
            result.disclaimer,
            f"{_('Job')} {job.id} · {job.model}",
            _("Made {at}", at=_at(made_at)),
        ),
        body=body,
    )


def urgency_in_words(urgency: Urgency) -> str:
    """An urgency in the visitor's language."""
    words = {
        Urgency.URGENT: _("urgent"),
        Urgency.PRIORITY: _("priority"),
        Urgency.REVIEW: _("review"),
        Urgency.ROUTINE: _("routine"),
    }
    return words[urgency]


def _job_page(job: Job, result: TriageResult, fields: Sequence[FieldOnPaper]) -> list[Flowable]:
    facts = table(
        [
            (_("Accession number"), job.accession_number or "–"),
            (_("Specimen"), job.specimen_id or "–"),
            (_("Pseudonym of the patient"), job.patient_ref or "–"),
            (_("Priority"), job.priority),
            (_("Sent"), _at(job.submitted_at)),
            (_("Result"), _at(result.created_at)),
            (_("Policy"), _("version {n}", n=result.policy_version)),
        ],
        (1, 1.5),
        head=False,
        width=0.62 * WIDTH,
    )
    leading = min(fields, key=lambda field: field.found.urgency.rank)
    shown = picture(leading.shown, width=0.35 * WIDTH, height=60 * mm)
    return [
        text(_("Triage of a blood smear"), "title"),
        _GAP,
        *_verdict(result),
        _GAP,
        beside(facts, shown, shares=(64, 36)),
        _GAP,
        text(_("Fields"), "heading"),
        *_list_of(fields),
        _GAP,
        text(_("Models"), "heading"),
        table(
            [
                (_("Model"), _("Engine"), "SHA-256"),
                *(
                    (f"{one.name}@{one.version}", f"{one.engine}, {one.precision}", one.sha256)
                    for one in result.models
                ),
            ],
            (1.4, 1.1, 3.5),
        ),
        _GAP,
        text(result.limits, "quiet"),
    ]


def _verdict(result: TriageResult) -> list[Flowable]:
    due = _("no deadline")
    if result.within_hours is not None:
        due = _at(result.created_at + dt.timedelta(hours=result.within_hours))
    urgency = urgency_in_words(result.urgency).upper()
    reasons = reasons_to_read(result, language())
    return [
        text(f"{urgency} · {result.display}", "verdict", ink=INKS[result.urgency]),
        Spacer(1, 2 * mm),
        table(
            [
                (_("Action"), text(result.recommended_action, "strong")),
                (_("Timeline"), f"{result.timeline} ({due})"),
                (_("calibrated confidence"), f"{100 * result.confidence:.1f} %"),
                (_("probability of ALL, all subtypes"), f"{100 * result.p_malignant:.1f} %"),
                (
                    _("review required"),
                    "; ".join(reasons) if result.requires_review else _("no"),
                ),
            ],
            (1, 2.6),
            head=False,
        ),
    ]


def _list_of(fields: Sequence[FieldOnPaper]) -> list[Flowable]:
    found = sorted((field.found for field in fields), key=lambda one: one.urgency.rank)
    rows = [
        (
            one.index + 1,
            one.display,
            f"{100 * one.confidence:.1f} %",
            f"{100 * one.p_malignant:.1f} %",
            urgency_in_words(one.urgency),
        )
        for one in found[:_LISTED]
    ]
    head = (_("Field"), _("Result"), _("Confidence"), _("ALL"), _("Urgency"))
    lines: list[Flowable] = [table([head, *rows], (0.6, 3.2, 1, 1, 1))]
    if len(found) > _LISTED:
        lines.append(text(_("and {n} more on their pages", n=len(found) - _LISTED), "quiet"))
    return lines


def _field_page(field: FieldOnPaper, count: int) -> list[Flowable]:
    found, side = field.found, 0.48 * WIDTH
    title = _("Field {n} of {all}", n=found.index + 1, all=count)
    shown: list[object] = [picture(field.shown, width=side, height=side)]
    shown.append(picture(field.overlay, width=side, height=side) if field.overlay else "")
    lines = [
        text(title, "title"),
        text(f"{urgency_in_words(found.urgency)} · {found.display}", "strong"),
        *([text("; ".join(found.reason_texts))] if found.reason_texts else []),
        _GAP,
        beside(*shown, shares=(1, 1)),
    ]
    if field.overlay:
        said = _("Right: Grad-CAM, what the prediction rests on. It is no outline of disease.")
        lines.append(text(said, "quiet"))
    lines += [_GAP, text(_("Probabilities"), "heading"), _probabilities(found), _GAP]
    quality = [(one.name, one.value, one.bound) for one in measures(found)]
    if found.unlikeness is not None:
        bound = _("at most {value}", value="1.00")
        quality.append((_("Unlike the training images"), f"{found.unlikeness:.2f}", bound))
    if quality:
        head = (_("Measure"), _("Value"), _("Bound"))
        lines += [text(_("Image quality"), "heading"), table([head, *quality], (2, 1, 1)), _GAP]
    return [*lines, *_origin(field)]


def _probabilities(found: FieldResult) -> Flowable:
    rows: list[tuple[object, ...]] = [(_("Model"), *LABELS)]
    rows.append((_("Calibrated"), *_percents(found)))
    rows += [
        (one.model, *(f"{100 * one.probabilities[label]:.1f} %" for label in LABELS))
        for one in found.opinions
    ]
    if found.label_set is not None:
        marks = (_("possible") if label in found.label_set else "–" for label in LABELS)
        rows.append((_("Conformal set"), *marks))
    return table(rows, (2, 1, 1, 1, 1))


def _percents(found: FieldResult) -> list[str]:
    return [f"{100 * found.probabilities[label]:.1f} %" for label in LABELS]


def _origin(field: FieldOnPaper) -> list[Flowable]:
    image, source = field.image, field.source
    rows = [
        (_("Image"), f"{image.width} × {image.height}, {image.media_type}"),
        ("SHA-256", image.sha256),
    ]
    if source is not None:
        frame = _("frame {n}", n=source.frame)
        rows += [
            (_("DICOM study"), source.study_uid),
            (_("DICOM instance"), f"{source.instance_uid}, {frame}"),
        ]
    return [table(rows, (1, 4), head=False)]


def _at(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
