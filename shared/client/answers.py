"""What all answers have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What the service says.

    What a newer service says besides is passed over.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


class Failure(Answer):
    """Why something failed: a stable code, and words."""

    code: str
    detail: str | None
