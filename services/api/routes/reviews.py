"""`/v1/jobs/{id}/review` and `reviews`: confirm or override a result; who has done so."""

from __future__ import annotations

import uuid
from typing import Any

from apiflask import APIBlueprint

from services.api.auth import current_key, requires
from services.api.bodies import expect_little, json_input
from services.api.context import context
from services.api.review_schemas import (
    ReviewIn,
    ReviewListOut,
    ReviewOut,
    review_list_out,
    review_out,
)
from shared.auth.keys import Scope
from shared.reviews.readings import find_case
from shared.reviews.record import record_review

bp = APIBlueprint("reviews", __name__, url_prefix="/v1/jobs", tag="Results")
bp.before_request(expect_little)


# The key comes first: what a stranger sends is not even looked at.
@bp.post("/<uuid:job_id>/review")
@requires(Scope.REVIEW)
@json_input(bp, ReviewIn, arg_name="review")
@bp.output(ReviewOut, status_code=201)
@bp.doc(
    summary="Confirm or override a result",
    responses=[400, 404, 409, 410, 413, 422],
    security="bearer",
)
def post_review(job_id: uuid.UUID, review: ReviewIn) -> tuple[dict[str, Any], int]:
    """Of several reviews of one reader, the newest counts. Scope `review`."""
    key = current_key()
    recorded = record_review(
        context().sessions,
        job_id,
        review.decision,
        review.label,
        comment=review.comment,
        tenant=key.tenant,
        key_id=key.id,
        asks_second=review.asks_second,
    )
    return review_out(recorded).model_dump(mode="json"), 201


@bp.get("/<uuid:job_id>/reviews")
@bp.output(ReviewListOut)
@bp.doc(
    summary="What readers have signed of a result", responses=[404, 409, 410], security="bearer"
)
@requires(Scope.READ)
def read_reviews(job_id: uuid.UUID) -> dict[str, Any]:
    """The newest review of each reader, without comments. Scope `read`."""
    case = find_case(context().sessions, job_id, tenant=current_key().tenant)
    return review_list_out(case).model_dump(mode="json")
