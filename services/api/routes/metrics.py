"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from services.api.context import context
from services.api.metrics import exposition
from services.api.request_metrics import request_metrics

bp = APIBlueprint("metrics", __name__, tag="Health")


@bp.get("/metrics")
@bp.doc(
    summary="Metrics in Prometheus' text format",
    responses={200: {"description": "The metrics.", "content": {"text/plain": {}}}},
)
def read_metrics() -> Response:
    """Queues, requests, drift, reviews, trainings; nothing of a patient. No key.

    While the database is away, what is read from it is missing.
    """
    body = exposition(context(), request_metrics())
    return Response(body, content_type=CONTENT_TYPE_PLAIN_0_0_4)
