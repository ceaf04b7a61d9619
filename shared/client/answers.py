"""What all answers have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What the service says.

    What a newer service says besides is passed over. A field can be read as an attribute, or by its
    name as in the JSON: `job.status` is `job["status"]`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    def __getitem__(self, name: str) -> Any:
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)


class Failure(Answer):
    """Why something failed: a stable code, and words."""

    code: str
    detail: str | None
