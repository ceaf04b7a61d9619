"""What the OpenAPI document says of `/dicomweb/workitems` beyond what its routes say."""

from __future__ import annotations

from typing import Any

from services.api.routes.dicomweb import DICOM_JSON
from shared.interop.dicom.ups.names import PRIORITY_OF
from shared.interop.dicom.ups.search import MATCHED, MAX_RESULTS
from shared.orders.workitem_entities import WorkitemState

_BASE = "/dicomweb/workitems"
_DATASET = {"type": "object", "description": "A data set in DICOM JSON (PS3.18, annex F)."}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_VALUES = {
    "ProcedureStepState": {"type": "string", "enum": ["", *WorkitemState]},
    "ScheduledProcedureStepPriority": {"type": "string", "enum": ["", *PRIORITY_OF]},
}
_NOT_SUPPORTED = "`true` is answered with a `Warning`: literal values alone are matched."


def complete(paths: dict[str, Any]) -> None:
    """Add query parameters, bodies and the media types of answers."""
    calls = {
        "search": paths[_BASE]["get"],
        "create": paths[_BASE]["post"],
        "retrieve": paths[f"{_BASE}/{{uid}}"]["get"],
        "update": paths[f"{_BASE}/{{uid}}"]["post"],
        "change": paths[f"{_BASE}/{{uid}}/state"]["put"],
        "cancel": paths[f"{_BASE}/{{uid}}/cancelrequest"]["post"],
    }
    listed = {DICOM_JSON: {"schema": {"type": "array", "items": _DATASET}}}
    for name, call in calls.items():
        reads = name in ("search", "retrieve")
        for status, answer in call["responses"].items():
            if status < "400":
                answer.pop("content", None)
        if reads:
            call["responses"]["200"]["content"] = listed
        else:
            content = {DICOM_JSON: {"schema": _DATASET}}
            call["requestBody"] = {"required": name != "cancel", "content": content}
            call["responses"]["413"] = {}
    calls["search"]["parameters"] += [*_matching(), *_paging()]
    calls["create"]["parameters"].append(_parameter("workitem", "The UID: 2.25 and a UUID."))
    calls["update"]["parameters"].append(
        _parameter("transaction-uid", "Of the claim, where the workitem is claimed.")
    )


def _matching() -> list[dict[str, Any]]:
    said = "A value to match; empty: any."
    return [_parameter(keyword, said, _VALUES.get(keyword)) for keyword in MATCHED]


def _paging() -> list[dict[str, Any]]:
    return [
        _parameter("limit", f"At most {MAX_RESULTS} are answered.", _COUNT),
        _parameter("offset", "How many to leave out.", _COUNT),
        _parameter("includefield", "`all`, or attributes. All are answered anyway."),
        _parameter("fuzzymatching", _NOT_SUPPORTED, _FLAG),
    ]


def _parameter(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": schema or {"type": "string"},
    }
