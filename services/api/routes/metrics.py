"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from services.api.context import context
from services.api.metrics import exposition

bp = APIBlueprint("metrics", __name__, tag="Health")


@bp.get("/metrics")
@bp.doc(
    summary="Metrics in Prometheus' text format",
    responses={
        200: {"description": "The metrics.", "content": {"text/plain": {}}},
        503: "The database does not answer.",
    },
)
def read_metrics() -> Response:
    """Drift, alerts, results of the window, agreement of reviews; nothing of a patient. No key."""
    return Response(exposition(context().sessions), content_type=CONTENT_TYPE_PLAIN_0_0_4)
