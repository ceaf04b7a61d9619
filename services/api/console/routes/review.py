"""Reading: the case that waits for a haematologist, their decision, and what they have signed."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from flask import Blueprint, Response, redirect, request, session, url_for
from pydantic import TypeAdapter, ValidationError
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key
from services.api.console import words
from services.api.console.live import live
from services.api.console.rendering import page
from services.api.console.routes.case import _of_result as of_result
from services.api.console.visitor import may, needs
from services.api.context import context
from services.api.review_schemas import Comment
from shared.auth.keys import Scope
from shared.clock import utc_now
from shared.errors import BadRequestError, NoResultError
from shared.jobs.queries import get_job
from shared.reviews import offer
from shared.reviews.labels import Decision, ReviewLabel
from shared.reviews.readings import ReadCase, SignedReading, find_case, reader_of
from shared.reviews.record import record_review
from shared.reviews.signed import own_agreement, signed_cases
from shared.reviews.standing import CaseState

UNDO = dt.timedelta(seconds=20)
"""For so long after a signature the page offers to correct it; `mine` does so at any time."""

_PAGE = 50
_MOST_PASSED_OVER = 30
_PASSED_OVER = "passed_over"
_comment = TypeAdapter(Comment)


@dataclass(frozen=True)
class Panel:
    """What the decision panel of a case shows to one reader.

    Attributes:
        own: What the reader has signed last; None: nothing.
        shown: The readings that they may see: a second reader sees none before they have signed.
        is_with_another: Whether another reader has the case at hand.
        goes_on: Whether the next case follows on a signature; else the case itself.
    """

    case: ReadCase
    own: SignedReading | None
    shown: tuple[SignedReading, ...]
    is_with_another: bool
    goes_on: bool = False


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/review", "review", show_next)
    bp.add_url_rule("/review/waiting", "review_waiting", show_waiting)
    bp.add_url_rule("/review/mine", "review_mine", show_mine)
    bp.add_url_rule("/review/<uuid:job_id>", "review_case", show_case)
    bp.add_url_rule("/review/<uuid:job_id>", "sign", sign, methods=["POST"])
    bp.add_url_rule("/review/<uuid:job_id>/pass", "pass_over", pass_over, methods=["POST"])
    bp.add_url_rule("/review/again", "read_again", read_again, methods=["POST"])
    # The page of a case, which is another's, includes the panel.
    bp.context_processor(lambda: {"review_panel": review_panel})


@needs(Scope.READ, Scope.REVIEW)
def show_next() -> str:
    """The case to read next, held for the reader; or that there is none."""
    sessions, reader = context().sessions, _reader()
    job_id = offer.next_case(sessions, reader, _passed_over(), tenant=_tenant())
    if job_id is None:
        return page(
            "review_done.html",
            just_signed=_just_signed(reader),
            waiting=offer.waiting(sessions, reader, tenant=_tenant()),
            passed_over=_passed_over(),
        )
    return _page_of(job_id, reader)


@needs(Scope.READ, Scope.REVIEW)
def show_case(job_id: uuid.UUID) -> str:
    """One case, whether or not it waits; held for the reader where nobody else has it."""
    reader = _reader()
    offer.hold(context().sessions, job_id, reader, tenant=_tenant())
    return _page_of(job_id, reader)


@needs(Scope.READ, Scope.REVIEW)
def sign(job_id: uuid.UUID) -> BaseResponse:
    """Record what the reader says of the result, and go on; a form that came twice counts once.

    Raises:
        BadRequestError: The form names no label, or its comment cannot be kept.
        NotFoundError: There is no such job.
        NoResultError: The job has no result.
    """
    label, comment = _said()
    prediction = find_case(context().sessions, job_id, tenant=_tenant()).prediction
    record_review(
        context().sessions,
        job_id,
        Decision.CONFIRM if label is prediction else Decision.OVERRIDE,
        label,
        comment=comment,
        tenant=_tenant(),
        key_id=current_key().id,
        asks_second="asks_second" in request.form,
        after=request.form.get("after", type=int),
    )
    if request.form.get("next") == "review":
        return redirect(url_for("console.review", signed=job_id), 303)
    return redirect(url_for("console.case", job_id=job_id, _anchor="decision"), 303)


@needs(Scope.READ, Scope.REVIEW)
def pass_over(job_id: uuid.UUID) -> BaseResponse:
    """Leave a case to others; it is offered no more in this session."""
    offer.release(context().sessions, job_id, _reader())
    others = [one for one in session.get(_PASSED_OVER, ()) if one != str(job_id)]
    session[_PASSED_OVER] = [*others, str(job_id)][-_MOST_PASSED_OVER:]
    return redirect(url_for("console.review"), 303)


@needs(Scope.READ, Scope.REVIEW)
def read_again() -> BaseResponse:
    """Offer again what was passed over."""
    session.pop(_PASSED_OVER, None)
    return redirect(url_for("console.review"), 303)


@needs(Scope.READ, Scope.REVIEW)
def show_waiting() -> str | Response:
    """How many cases wait, as a part of the page."""
    waiting = offer.waiting(context().sessions, _reader(), tenant=_tenant())
    return live("_review_waiting.html", waiting=waiting)


@needs(Scope.READ, Scope.REVIEW)
def show_mine() -> str:
    """What the reader has signed, and how often the model and other readers said the same."""
    sessions, reader = context().sessions, _reader()
    before = request.args.get("before", type=int)
    return page(
        "review_mine.html",
        signed=signed_cases(sessions, reader, limit=_PAGE, before=before),
        agreement=own_agreement(sessions, reader),
        states=CaseState,
    )


def review_panel(job_id: uuid.UUID) -> Panel | None:
    """The decision panel of a case, on any page; None where the visitor is not to decide."""
    if not may(Scope.REVIEW):
        return None
    try:
        return _panel(find_case(context().sessions, job_id, tenant=_tenant()), _reader())
    except NoResultError:
        return None


def _page_of(job_id: uuid.UUID, reader: str) -> str:
    sessions = context().sessions
    job = get_job(sessions, job_id, tenant=_tenant())
    case = find_case(sessions, job_id, tenant=_tenant())
    return page(
        "review.html",
        job=job,
        **of_result(job),
        panel=_panel(case, reader, goes_on=True),
        just_signed=_just_signed(reader),
        waiting=offer.waiting(sessions, reader, tenant=_tenant()),
    )


def _panel(case: ReadCase, reader: str, *, goes_on: bool = False) -> Panel:
    own, holder = case.reading_of(reader), offer.holder(context().sessions, case.job_id)
    return Panel(
        case=case,
        own=own,
        shown=() if case.hides_from(reader) else case.readings,
        is_with_another=holder not in (None, reader),
        goes_on=goes_on or holder == reader,
    )


def _just_signed(reader: str) -> ReadCase | None:
    """The case that the reader signed a moment ago, by the address of the page."""
    job_id = request.args.get("signed", type=uuid.UUID)
    if job_id is None:
        return None
    case = find_case(context().sessions, job_id, tenant=_tenant())
    own = case.reading_of(reader)
    return case if own is not None and own.at > utc_now() - UNDO else None


def _said() -> tuple[ReviewLabel, str | None]:
    try:
        # As browsers count it: a form sends each end of a line as two characters.
        written = request.form.get("comment", "").replace("\r\n", "\n")
        comment = _comment.validate_python(written)
        return ReviewLabel(request.form.get("label", "")), comment or None
    except ValidationError as error:
        raise BadRequestError(words.say("A comment has at most 2000 characters.")) from error
    except ValueError as error:
        raise BadRequestError(words.say("Choose what the case shows.")) from error


def _reader() -> str:
    return reader_of(context().sessions, current_key().id)


def _tenant() -> str:
    return current_key().tenant


def _passed_over() -> list[uuid.UUID]:
    return [uuid.UUID(one) for one in session.get(_PASSED_OVER, ())]
