"""Every route, and the scopes that a key must have to call it."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from tests.integration.access.scene import NOBODY, STUDY, Belongings
from tests.integration.workitems.steps import body, data_set

OPEN, SIGNED = frozenset({"open"}), frozenset({"signed"})
"""Routes that need no key, and pages for whoever is signed in, who gets what his scopes allow."""

_CASE = "/console/cases/<uuid:job_id>"
_CASE_IMAGE = f"{_CASE}/images/<int:index>"
_VERSION = "/v1/models/<name>/versions/<int:version>"
_PAGE_OF_VERSION = "/console/models/<name>/<int:version>"
_TABLE = {
    "submit": (
        *("POST /v1/jobs", "DELETE /v1/jobs/<uuid:job_id>"),
        *("POST /v1/orders", "DELETE /v1/orders/<uuid:order_id>"),
        *("POST /dicomweb/studies", "POST /dicomweb/studies/<study_uid>"),
        *("POST /dicomweb/workitems", "POST /dicomweb/workitems/<uid>"),
        *("POST /dicomweb/workitems/<uid>/cancelrequest", "PUT /dicomweb/workitems/<uid>/state"),
        *("GET /console/send", "POST /console/send", "GET /console/send/live"),
        f"POST {_CASE}/cancel",
    ),
    "read": (
        *("GET /v1/jobs", "GET /v1/jobs/<uuid:job_id>", "GET /v1/jobs/<uuid:job_id>/result"),
        *("GET /v1/jobs/<uuid:job_id>/reviews", "GET /v1/jobs/<uuid:job_id>/images/<int:index>"),
        "GET /v1/jobs/<uuid:job_id>/images/<int:index>/explanation",
        *("GET /v1/orders", "GET /v1/orders/<uuid:order_id>"),
        *("GET /v1/models", f"GET {_VERSION}"),
        *(f"GET {_VERSION}/shadow", f"GET {_VERSION}/shadow/disagreements"),
        *("GET /dicomweb/workitems", "GET /dicomweb/workitems/<uid>"),
        *("GET /console/worklist", "GET /console/worklist/live"),
        *(f"GET {_CASE}", f"GET {_CASE}/live", f"GET {_CASE}/report.pdf"),
        *(f"GET {_CASE}/result/<form>", f"GET {_CASE_IMAGE}", f"GET {_CASE_IMAGE}/thumb"),
        *(f"GET {_CASE_IMAGE}/explanation", f"POST {_CASE_IMAGE}/explanation"),
        *(f"GET {_CASE_IMAGE}/explanation/<method>", f"GET {_CASE_IMAGE}/overlay/<method>"),
        *("GET /console/queues", "GET /console/queues/now", "GET /console/queues/troubles"),
        *("GET /console/queues/throughput", "GET /console/monitoring"),
    ),
    "review": ("POST /v1/jobs/<uuid:job_id>/review",),
    "read+review": (
        *("GET /console/review", "GET /console/review/waiting", "GET /console/review/mine"),
        *("GET /console/review/<uuid:job_id>", "POST /console/review/<uuid:job_id>"),
        *("POST /console/review/<uuid:job_id>/pass", "POST /console/review/again"),
    ),
    "admin": (
        *("GET /v1/audit", "GET /v1/audit/checkpoint"),
        *("GET /v1/gates", "GET /v1/gates/<uuid:gate_id>", f"POST {_VERSION}/gates"),
        *("PUT /v1/models/<name>/aliases/<alias>", "DELETE /v1/models/aliases/challenger"),
        *("POST /v1/models/rollback", "POST /v1/datasets", "GET /v1/datasets"),
        *("GET /v1/datasets/<uuid:dataset_id>", "GET /v1/datasets/<uuid:dataset_id>/manifest"),
        *("POST /v1/holds", "GET /v1/holds", "DELETE /v1/holds/<uuid:hold_id>"),
        *("POST /v1/erasures", "GET /v1/erasures", "GET /v1/erasures/<uuid:erasure_id>"),
        *("POST /v1/trainings", "GET /v1/trainings", "GET /v1/trainings/<uuid:run_id>"),
        *("DELETE /v1/trainings/<uuid:run_id>", "GET /v1/trainings/<uuid:run_id>/events"),
        "GET /v1/trainings/<uuid:run_id>/logs",
        *("GET /console/audit", "GET /console/data", "GET /console/data/<uuid:dataset_id>"),
        *("POST /console/data/reviews", "POST /console/data/uploads"),
        *("GET /console/keys", "POST /console/keys"),
        *("GET /console/keys/<key_id>/revoke", "POST /console/keys/<key_id>/revoke"),
        *("GET /console/keys/<key_id>/rotate", "POST /console/keys/<key_id>/rotate"),
        *("GET /console/models", "GET /console/models/<change>", "POST /console/models/<change>"),
        *(f"GET {_PAGE_OF_VERSION}", f"GET {_PAGE_OF_VERSION}/gates"),
        *(f"GET {_PAGE_OF_VERSION}/<change>", f"POST {_PAGE_OF_VERSION}/<change>"),
        "POST /console/queues/events/<uuid:event_id>",
        "POST /console/queues/jobs/<uuid:job_id>",
        *("GET /console/trainings", "POST /console/trainings"),
        *("GET /console/trainings/<uuid:run_id>", "POST /console/trainings/<uuid:run_id>/cancel"),
        "GET /console/trainings/<uuid:run_id>/curves/<figure>",
    ),
    "signed": ("GET /console/", "GET /console/<path:address>"),
    "open": (
        *("GET /", "GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json"),
        *("GET /docs/", "GET /docs/<path:path>", "GET /static/<path:filename>"),
        *("GET /console/static/<path:filename>", "POST /console/looks"),
        *("GET /console/sign-in", "POST /console/sign-in", "POST /console/sign-out"),
        *("GET /console/sign-in/back", "GET /console/sign-in/elsewhere"),
    ),
}

NEEDED = {
    route: frozenset(scopes.split("+")) for scopes, routes in _TABLE.items() for route in routes
}
"""Of `METHOD rule`: its scopes, all of which are needed."""

_NUMBERS = itertools.count(1)


def served(application: Any) -> set[str]:
    """Each route of an application."""
    return {
        f"{method} {rule.rule}"
        for rule in application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def address(application: Any, route: str, has: Belongings, job_id: uuid.UUID | None = None) -> str:
    """The address of a route for what somebody has; of its jobs the one that is done."""
    method, rule = route.split(" ", 1)
    names = {
        "job_id": job_id or has.done,
        "order_id": has.order,
        "event_id": has.event,
        "uid": f"2.25.{has.order.int}",
        "key_id": has.key,
        **dict.fromkeys(("dataset_id", "run_id", "gate_id", "hold_id", "erasure_id"), NOBODY),
        **{"index": 0, "method": "gradcam", "form": "json", "figure": "loss"},
        **{"name": "cnn_custom", "version": 1, "alias": "champion", "study_uid": STUDY},
        "change": "rollback" if "<name>" not in rule else "gate",
        **dict.fromkeys(("filename", "path", "address"), "nothing"),
    }
    (found,) = (
        each
        for each in application.url_map.iter_rules()
        if each.rule == rule and method in each.methods
    )
    values = {name: names[name] for name in found.arguments}
    return str(application.url_map.bind("localhost").build(found.endpoint, values, method=method))


def sending(route: str) -> dict[str, Any]:
    """What a call of a route sends that does what it is for, as far as it can be done again."""
    number = next(_NUMBERS)
    bodies: dict[str, dict[str, Any]] = {
        "POST /v1/orders": {"json": {"accession_number": f"SENT-{number}"}},
        "POST /v1/jobs/<uuid:job_id>/review": {"json": {"decision": "confirm"}},
        "POST /dicomweb/workitems": body(data_set(accession=f"SENT-{number}")),
        "POST /dicomweb/workitems/<uid>": body(data_set()),
        "POST /console/review/<uuid:job_id>": {"data": {"label": "Early"}},
        "POST /console/keys": {"data": {"name": "made", "scopes": "read"}},
    }
    return bodies.get(route, {})
