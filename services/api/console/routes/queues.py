"""The queues of jobs, what failed in them, and what was not delivered."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, redirect, url_for
from werkzeug.wrappers import Response

from services.api.auth import actor, current_key
from services.api.console.codes import in_words
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from shared.auth.keys import Scope
from shared.explanations.backlog import backlogs
from shared.jobs.overview import (
    depths,
    redeliveries,
    running_jobs,
    throughput,
    unsent_messages,
    unsuccessful_jobs,
)
from shared.jobs.requeue import requeue
from shared.webhooks.admin import list_events, resend

_LISTED = 50


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/queues", "queues", show_queues)
    bp.add_url_rule("/queues/now", "queues_now", show_now)
    bp.add_url_rule("/queues/troubles", "queues_troubles", show_troubles)
    bp.add_url_rule("/queues/throughput", "queues_throughput", throughput_figures)
    bp.add_url_rule("/queues/jobs/<uuid:job_id>", "requeue", requeue_job, methods=["POST"])
    bp.add_url_rule("/queues/events/<uuid:event_id>", "resend", resend_event, methods=["POST"])


@needs(Scope.READ)
def show_queues() -> str:
    """All of it; what changes is asked for again by itself."""
    return page("queues.html", **{**_now(), **_troubles()})


@needs(Scope.READ)
def show_now() -> str:
    """What waits and what runs."""
    return page("queues_now.html", **_now())


@needs(Scope.READ)
def show_troubles() -> str:
    """What failed, and what was not delivered."""
    return page("queues_troubles.html", **_troubles())


@needs(Scope.READ)
def throughput_figures() -> dict[str, Any]:
    """Jobs that ended, by minute, for the chart."""
    minutes = throughput(context().sessions)[:-1]  # the running one would always look like a fall
    return {
        "x": [minute.at.timestamp() for minute in minutes],
        "series": [
            [minute.succeeded for minute in minutes],
            [minute.unsuccessful for minute in minutes],
        ],
    }


@needs(Scope.ADMIN)
def requeue_job(job_id: uuid.UUID) -> Response:
    """Queues a dead or failed job again."""
    ctx = context()
    seconds = ctx.settings.expire_after_seconds
    requeue(
        ctx.sessions,
        job_id,
        tenant=current_key().tenant,
        expire_after_seconds=seconds,
        actor=actor(),
    )
    return redirect(url_for("console.queues"))


@needs(Scope.ADMIN)
def resend_event(event_id: uuid.UUID) -> Response:
    """Makes a webhook or a push due at once."""
    resend(context().sessions, event_id, tenant=current_key().tenant, actor=actor())
    return redirect(url_for("console.queues"))


def _now() -> dict[str, Any]:
    sessions, tenant = context().sessions, current_key().tenant
    return {
        "depths": depths(sessions),
        "running": running_jobs(sessions, tenant=tenant, limit=_LISTED),
        "redeliveries": redeliveries(sessions),
        "unsent": unsent_messages(sessions).count,
        "explanations": backlogs(sessions),
        "in_words": in_words,
    }


def _troubles() -> dict[str, Any]:
    sessions, tenant = context().sessions, current_key().tenant
    return {
        "jobs": unsuccessful_jobs(sessions, tenant=tenant, limit=_LISTED),
        "events": list_events(sessions, tenant=tenant, undelivered=True, limit=_LISTED),
        "in_words": in_words,
    }
