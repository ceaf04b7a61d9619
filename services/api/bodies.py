"""JSON bodies that are small, and may be left out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from apiflask import APIBlueprint
from flask import request
from pydantic import BaseModel

from shared.errors import BadRequestError

View = TypeVar("View", bound=Callable[..., Any])

_MAX_BODY_BYTES = 64 * 1024


def expect_little() -> None:
    """Refuse a large body before it is read; for `before_request` of a blueprint."""
    request.max_content_length = _MAX_BODY_BYTES


def optional_input(bp: APIBlueprint, model: type[BaseModel]) -> Callable[[View], View]:
    """As `bp.input` for JSON, in the argument `asked`; no body at all stands for `{}`.

    Args:
        bp: The blueprint of the view.
        model: What a body is validated by; none of its fields is required.
    """

    def decorate(view: View) -> View:
        validated = bp.input(model, arg_name="asked")(view)

        @wraps(validated)
        def lenient(*args: Any, **kwargs: Any) -> Any:
            if not request.get_data():
                return view(*args, asked=model(), **kwargs)
            # APIFlask would take null, 0 and [] for an empty object.
            if request.is_json and not isinstance(request.get_json(silent=True), dict):
                raise BadRequestError("The body is no JSON object.")
            return validated(*args, **kwargs)

        return cast(View, lenient)

    return decorate
