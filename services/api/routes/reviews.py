"""`/v1/jobs/{id}/review`: confirm or override a result."""

from __future__ import annotations

import uuid
from typing import Any

from apiflask import APIBlueprint

from services.api.auth import current_key, requires
from services.api.bodies import expect_little
from services.api.context import context
from services.api.schemas import ReviewIn, ReviewOut
from shared.auth.keys import Scope
from shared.reviews.record import record_review

bp = APIBlueprint("reviews", __name__, url_prefix="/v1/jobs", tag="Results")
bp.before_request(expect_little)


# The key comes first: what a stranger sends is not even looked at.
@bp.post("/<uuid:job_id>/review")
@requires(Scope.REVIEW)
@bp.input(ReviewIn, arg_name="review")
@bp.output(ReviewOut, status_code=201)
@bp.doc(
    summary="Confirm or override a result", responses=[400, 404, 409, 413, 422], security="bearer"
)
def post_review(job_id: uuid.UUID, review: ReviewIn) -> tuple[dict[str, Any], int]:
    """Of several reviews of one job, the newest counts. Scope `review`."""
    recorded = record_review(
        context().sessions,
        job_id,
        review.decision,
        review.label,
        comment=review.comment,
        key_id=current_key().id,
    )
    out = ReviewOut(
        id=recorded.id,
        job_id=str(recorded.job_id),
        decision=recorded.decision,
        prediction=recorded.prediction,
        label=recorded.label,
        at=recorded.at,
    )
    return out.model_dump(mode="json"), 201
