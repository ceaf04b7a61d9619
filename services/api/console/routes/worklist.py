"""The triage worklist: who must look at what, what is on its way, and what is expected."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field, ValidationError

from services.api.auth import current_key
from services.api.console.live import live
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.console.words import language
from services.api.context import context
from services.api.fields import FieldError
from shared.auth.keys import Scope
from shared.clock import in_utc, utc_now
from shared.db.cursors import CURSOR
from shared.jobs.queries import JobFilter, list_jobs
from shared.jobs.reference import Reference
from shared.jobs.states import Priority, Status
from shared.jobs.unfinished import load, unfinished
from shared.jobs.worklist import (
    WORKLIST_CURSOR,
    Case,
    WorklistFilter,
    new_since,
    newest_result_at,
    worklist,
)
from shared.orders.awaiting import AwaitedFilter, awaited_orders
from shared.triage.policy import Urgency
from shared.triage.wording import TEXTS
from shared.triage.wording.fields import reasons_of_fields

_CASES, _JOBS = 25, 50
_IN_STRIP = 12
_EXPECTED = 8
_CLOSED = {"open": False, "closed": True, "any": None}


class WorklistQuery(BaseModel):
    """What a reader asks the worklist for; days are of UTC, the last one included."""

    urgency: Urgency | None = None
    status: Status = Status.SUCCEEDED
    reading: Literal["open", "closed", "any"] = "open"
    requires_review: Literal["yes"] | None = None
    priority: Priority | None = None
    accession_number: Reference | None = None
    result_from: dt.date | None = None
    result_to: dt.date | None = Field(None, lt=dt.date.max)
    cursor: str | None = Field(None, pattern=f"{WORKLIST_CURSOR}|{CURSOR}")

    @property
    def begin(self) -> dt.datetime | None:
        """When the first day begins."""
        return _midnight(self.result_from)

    @property
    def end(self) -> dt.datetime | None:
        """When the last day is over."""
        return _midnight(self.result_to and self.result_to + dt.timedelta(days=1))

    def criteria(self) -> WorklistFilter:
        """The same of results."""
        return WorklistFilter(
            urgency=self.urgency,
            requires_review=True if self.requires_review else None,
            closed=_CLOSED[self.reading],
            priority=self.priority,
            accession_number=self.accession_number,
            result_from=self.begin,
            result_to=self.end,
        )

    def said(self) -> dict[str, str]:
        """What differs from what is asked for by itself, for an address."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"cursor"})


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/worklist", "worklist", show_worklist)
    bp.add_url_rule("/worklist/live", "worklist_live", show_live)


@needs(Scope.READ)
def show_worklist() -> str:
    """Results by urgency and deadline, or the jobs that came to none."""
    sessions, query, tenant = context().sessions, _query(), current_key().tenant
    shown = _cases(query) if query.status is Status.SUCCEEDED else _jobs(query)
    expected = awaited_orders(sessions, AwaitedFilter(), tenant=tenant, limit=_EXPECTED)
    choices = {"urgencies": Urgency, "priorities": Priority, "statuses": Status}
    said = query.said()
    return page(
        "worklist.html",
        query=query,
        said=said,
        now=utc_now(),
        expected=expected,
        **choices,
        **shown,
    )


@needs(Scope.READ)
def show_live() -> str | Response:
    """What is on its way, and how many cases have come since the page was made."""
    sessions, query, tenant = context().sessions, _query(), current_key().tenant
    since = request.args.get("since", type=_moment)
    return live(
        "_worklist_live.html",
        said=query.said(),
        since=since,
        jobs=unfinished(sessions, tenant=tenant, most=_IN_STRIP),
        load=load(sessions, tenant=tenant),
        news=new_since(sessions, query.criteria(), since, tenant=tenant),
    )


def _cases(query: WorklistQuery) -> dict[str, Any]:
    sessions, tenant = context().sessions, current_key().tenant
    # Read before the cases: what comes in between is announced, and so is never missed.
    since = newest_result_at(sessions, tenant=tenant)
    found = worklist(sessions, query.criteria(), tenant=tenant, limit=_CASES, cursor=query.cursor)
    shown = {"texts": TEXTS[language()], "reasons_of": _reasons_of}
    return {"since": since, "cases": found.cases, "cursor": found.next_cursor, **shown}


def _reasons_of(case: Case) -> list[str]:
    texts = TEXTS[language()].reasons
    said = [(code, texts.get(code, code)) for code in case.reasons]
    return reasons_of_fields(said, dict(enumerate(case.reasons_of_fields, 1)), language())


def _jobs(query: WorklistQuery) -> dict[str, Any]:
    criteria = JobFilter(
        status=query.status,
        priority=query.priority,
        accession_number=query.accession_number,
        submitted_from=query.begin,
        submitted_to=query.end,
    )
    tenant = current_key().tenant
    found = list_jobs(context().sessions, criteria, tenant=tenant, limit=_JOBS, cursor=query.cursor)
    return {"jobs": found.jobs, "cursor": found.next_cursor}


def _query() -> WorklistQuery:
    said = {name: value for name, value in request.args.items() if value.strip()}
    try:
        return WorklistQuery.model_validate(said)
    except ValidationError as error:
        names = sorted({str(fault["loc"][0]) for fault in error.errors()})
        raise FieldError(", ".join(names)) from None


def _moment(text: str) -> dt.datetime:
    return in_utc(dt.datetime.fromisoformat(text))


def _midnight(day: dt.date | None) -> dt.datetime | None:
    return None if day is None else dt.datetime.combine(day, dt.time(), dt.UTC)
