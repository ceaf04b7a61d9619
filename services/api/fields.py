"""What fields of forms and queries may look like, just as the OpenAPI document says it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from flask import request
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from werkzeug.datastructures import ImmutableMultiDict

from shared.clock import in_utc
from shared.errors import PermanentError

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


class FieldError(PermanentError):
    """A field is not valid."""

    code = "validation_failed"


class SentOnce(ImmutableMultiDict[str, str]):
    """Fields of a form or a query: as a plain dict each has one value, or none is taken."""

    def to_dict(self, flat: bool = True) -> dict[str, Any]:
        """The fields by name.

        Raises:
            FieldError: It is to have one value for each, and one was sent more than once.
        """
        if flat and (repeated := [name for name, values in self.lists() if len(values) > 1]):
            raise FieldError(f"{_listed(repeated)}: sent more than once.")
        return super().to_dict(flat)  # type: ignore[call-overload,no-any-return]


def refuse_query(place: str) -> None:
    """Refuse a query of the running request, whose fields are elsewhere: it would be lost.

    Args:
        place: Where fields belong.

    Raises:
        FieldError: There is a query.
    """
    if request.args:
        raise FieldError(f"{_listed(request.args)}: fields belong in {place}, not in the query.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _as_written(text: str) -> str:
    """Refuse what pydantic would take for a time too, such as seconds since 1970."""
    if not _RFC_3339.fullmatch(text):
        raise ValueError("expected a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_as_written), AfterValidator(in_utc)]
"""A time of a query, which has to have a zone; in UTC."""


def _true_or_false(value: object) -> object:
    """Refuse the other words that pydantic would take, such as `off` and `0`."""
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("expected true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
"""Yes or no, in a form or a query."""


def _without_null(schema: dict[str, Any]) -> None:
    for about in schema["properties"].values():
        if "anyOf" in about:
            (given,) = (one for one in about.pop("anyOf") if one != {"type": "null"})
            about.update({name: value for name, value in given.items() if name not in about})
            about.pop("default", None)


FORM = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_without_null)
"""Of fields that come as text: what is not sent is not there, and no text stands for null."""


class Query(BaseModel):
    """What a query may have; anything else, such as a misspelt filter, is refused."""

    model_config = ConfigDict(extra="forbid")
