"""JSON bodies that are small; some may be left out. A query beside one is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from apiflask import APIBlueprint
from flask import request
from pydantic import BaseModel

from services.api.fields import refuse_query
from shared.errors import BadRequestError

View = TypeVar("View", bound=Callable[..., Any])

_MAX_BODY_BYTES = 64 * 1024


def expect_little() -> None:
    """Refuse a large body before it is read; for `before_request` of a blueprint."""
    request.max_content_length = _MAX_BODY_BYTES


def json_input(
    bp: APIBlueprint, model: type[BaseModel], *, arg_name: str = "asked"
) -> Callable[[View], View]:
    """As `bp.input` for JSON, of a call without a query: what that says would be lost.

    Args:
        bp: The blueprint of the view.
        model: What a body is validated by.
        arg_name: The view's argument that gets it.
    """

    def decorate(view: View) -> View:
        validated = bp.input(model, arg_name=arg_name)(view)

        @wraps(validated)
        def without_query(*args: Any, **kwargs: Any) -> Any:
            refuse_query("the body")
            return validated(*args, **kwargs)

        return cast(View, without_query)

    return decorate


def optional_input(bp: APIBlueprint, model: type[BaseModel]) -> Callable[[View], View]:
    """As `json_input`, in the argument `asked`; no body at all stands for `{}`.

    Args:
        bp: The blueprint of the view.
        model: What a body is validated by; none of its fields is required.
    """

    def decorate(view: View) -> View:
        validated = bp.input(model, arg_name="asked")(view)

        @wraps(validated)
        def lenient(*args: Any, **kwargs: Any) -> Any:
            refuse_query("the body")
            if not request.get_data():
                return view(*args, asked=model(), **kwargs)
            # APIFlask would take null, 0 and [] for an empty object.
            if request.is_json and not isinstance(request.get_json(silent=True), dict):
                raise BadRequestError("The body is no JSON object.")
            return validated(*args, **kwargs)

        return cast(View, lenient)

    return decorate
