"""Which calls go on from which answers, for the OpenAPI document (OpenAPI 3.1, Link Object)."""

from __future__ import annotations

from typing import Any

_METHODS = ("get", "put", "post", "delete")

# By the call that makes a thing: the status that tells of it, and the parameter that its `id` is.
_MADE = {
    "/v1/jobs": ("202", "job_id"),
    "/v1/datasets": ("202", "dataset_id"),
    "/v1/trainings": ("202", "run_id"),
    "/v1/holds": ("201", "hold_id"),
    "/v1/erasures": ("202", "erasure_id"),
    "/v1/models/{name}/versions/{version}/gates": ("202", "gate_id"),
}


def add_links(paths: dict[str, Any]) -> None:
    """Link each call that makes a thing to all calls that are about one."""
    for made, (status, parameter) in _MADE.items():
        links = paths[made]["post"]["responses"][status].setdefault("links", {})
        for path, operations in paths.items():
            if f"{{{parameter}}}" not in path:
                continue
            for method in sorted(operations.keys() & set(_METHODS)):
                links[_name(method, path)] = {
                    "operationRef": f"#/paths/{_escaped(path)}/{method}",
                    "parameters": {parameter: "$response.body#/id"},
                }


def _name(method: str, path: str) -> str:
    """Such as `get-v1-jobs-job_id`: a key of `links` has no other characters."""
    return "-".join([method, *(part.strip("{}") for part in path.split("/") if part)])


def _escaped(path: str) -> str:
    """As a token of a JSON pointer (RFC 6901, section 3)."""
    return path.replace("~", "~0").replace("/", "~1")
