"""What the OpenAPI document says beyond what the routes say of themselves."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask

from services.api import dataset_schemas, workitem_spec
from services.api.auth import SECOND_KEY, SECURITY_SCHEMES
from services.api.context import EXTENSION
from services.api.errors import PROBLEM
from services.api.openapi_links import add_links
from services.api.routes.dicomweb import DICOM_JSON
from services.api.schemas import JobFields, Problem
from services.api.uploads import DICOM
from shared.imaging.decode import MEDIA_TYPES
from shared.interop import forms
from shared.triage.wording import Language
from shared.triage.wording.english import ENGLISH

DESCRIPTION = f"""\
Triage of blood smear images for acute lymphoblastic leukaemia: {ENGLISH.disclaimer}.

Post images to `/v1/jobs`, then poll the job at its `Location`. Errors are problem documents
(RFC 9457) with a stable `code`.
"""

_BINARY = {"type": "string", "format": "binary"}
_ANSWERS_OF_EVERY_CALL = {401, 403, 429, 503}
_ANSWERS_OF_AN_UPLOAD = {400, 409, 413, 415, 422, 429}
_STORES = ("/dicomweb/studies", "/dicomweb/studies/{study_uid}")
_WORDED = ("/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result")


def init_app(app: APIFlask) -> None:
    """Complete the document when it is made."""
    settings = app.extensions[EXTENSION].settings
    app.config["SPEC_FORMAT"] = "json"
    app.description = DESCRIPTION
    app.security_schemes = SECURITY_SCHEMES
    app.spec_processor(partial(_complete, calls_back=bool(settings.webhook_allowed_hosts)))


def _complete(spec: dict[str, Any], *, calls_back: bool) -> dict[str, Any]:
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    post = spec["paths"]["/v1/jobs"]["post"]
    fields = JobFields.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(fields.pop("$defs", {}))
    if not calls_back:
        del fields["properties"]["callback_url"]
    post["requestBody"] = _upload_body(fields)
    post.setdefault("parameters", []).append(_idempotency_header())
    spec["paths"]["/v1/datasets"]["post"]["requestBody"] = dataset_schemas.request_body()
    for name in _STORES:
        related = {"multipart/related": {"schema": _BINARY}}
        store = spec["paths"][name]["post"]
        store["requestBody"] = {"required": True, "content": related}
        _add_problems(store, {400, 406, 413, 415, 429})
    workitem_spec.complete(spec["paths"])
    put = spec["paths"]["/v1/models/{name}/aliases/{alias}"]["put"]
    put.setdefault("parameters", []).append(_second_key_header())
    _add_result_forms(spec["paths"]["/v1/jobs/{job_id}/result"]["get"])
    for name in _WORDED:
        spec["paths"][name]["get"].setdefault("parameters", []).append(_language_header())
    for path in spec["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and "requestBody" in operation:
                _require_body(operation["requestBody"], schemas)
            if isinstance(operation, dict) and operation.get("security"):
                refusals = {int(status) for status in operation["responses"] if status >= "400"}
                _add_problems(operation, refusals | _ANSWERS_OF_EVERY_CALL)
    _add_problems(post, _ANSWERS_OF_AN_UPLOAD)
    for name in _STORES:
        _add_documents(spec["paths"][name]["post"])
    add_links(spec["paths"])
    return spec


def _add_problems(operation: dict[str, Any], statuses: set[int]) -> None:
    for status in sorted(statuses):
        operation["responses"][str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _require_body(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """A body must be there unless all in it may be left out."""
    schema = body["content"].get("application/json", {}).get("schema", {})
    schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    body["required"] = body.get("required", False) or "required" in schema


def _add_documents(store: dict[str, Any]) -> None:
    """Which instances were stored, and which were not, is said in DICOM JSON."""
    for status in ("200", "202", "409"):
        content = store["responses"][status].setdefault("content", {})
        content[DICOM_JSON] = {"schema": {"type": "object"}}


def _add_result_forms(operation: dict[str, Any]) -> None:
    content = operation["responses"]["200"]["content"]
    text = {"schema": {"type": "string"}}
    content[forms.MEDIA_TYPES[forms.ResultForm.FHIR]] = {"schema": {"type": "object"}}
    content[forms.MEDIA_TYPES[forms.ResultForm.HL7]] = content[forms.HL7_OVER_HTTP] = text
    content[forms.MEDIA_TYPES[forms.ResultForm.DICOM]] = {"schema": _BINARY}


def _upload_body(fields: dict[str, Any]) -> dict[str, Any]:
    images = {"type": "array", "items": _BINARY, "minItems": 1}
    form = {
        **fields,
        "properties": {"image": images, **fields["properties"]},
        "required": ["image"],
    }
    types = (*MEDIA_TYPES.values(), DICOM)
    raw = {media_type: {"schema": _BINARY} for media_type in types}
    return {"required": True, "content": {"multipart/form-data": {"schema": form}, **raw}}


def _idempotency_header() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key and body give the same job; with another body, 409.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }


def _second_key_header() -> dict[str, Any]:
    return {
        "name": SECOND_KEY,
        "in": "header",
        "description": "A second admin's key, for a version that has not passed its gate.",
        "schema": {"type": "string"},
    }


def _language_header() -> dict[str, Any]:
    languages = ", ".join(f"`{language}`" for language in Language)
    return {
        "name": "Accept-Language",
        "in": "header",
        "description": f"Language of a result's texts: {languages}; English for any other.",
        "schema": {"type": "string", "default": Language.ENGLISH.value},
    }
