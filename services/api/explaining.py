"""Asks for explanations: what the API and the console both do."""

from __future__ import annotations

from services.api.auth import actor, current_key
from services.api.context import context
from shared.explanations import queue
from shared.explanations.states import ExplanationState, Subject
from shared.jobs.admission import QueueFullError
from shared.storage import explanation_key


def asked(
    subject: Subject, seconds: float, *, lost: ExplanationState | None = None
) -> ExplanationState:
    """Ask for it, and read it at its end; earlier if the time is over or too many wait already.

    Args:
        subject: What is to be explained, and how.
        seconds: The longest to wait for its end.
        lost: As it was read by whoever found its picture gone: it is made again.

    Raises:
        NotFoundError: There is no such job, or no such image in it.
        NoResultError: The job has no result that could be explained.
        QueueFullError: Too many by this method are asked for.
    """
    ctx, tenant = context(), current_key().tenant
    waits = bool(seconds) and ctx.waiting_places.acquire(blocking=False)
    try:
        most = ctx.settings.max_queued_explanations
        state = queue.request(
            ctx.sessions,
            subject,
            tenant=tenant,
            actor=actor(),
            most=most,
            waits=waits,
            lost=lost,
        )
        if state is None:
            raise QueueFullError(f"{most} explanations by {subject.method} are asked for.")
        if waits and not state.status.is_final:
            state = ctx.explanations.wait(subject, seconds, tenant=tenant)
        return state
    finally:
        if waits:
            ctx.waiting_places.release()


def picture(state: ExplanationState) -> bytes:
    """The PNG of an explanation that has succeeded.

    Raises:
        ObjectMissingError: The store has lost it; it can be made again.
    """
    subject = state.subject
    key = explanation_key(
        subject.job_id, subject.image_index, subject.method, str(state.png_sha256)
    )
    return context().storage.get(key)
