"""The areas of the console, in the order of their links, and who sees them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request, url_for

from services.api.console.visitor import may
from shared.auth.keys import Scope


@dataclass(frozen=True)
class Area:
    """A link: its name in English, the endpoint of its first page, and the scopes to see it.

    Its other pages have addresses below that of the first one.
    """

    name: str
    endpoint: str
    scopes: tuple[Scope, ...]

    @property
    def address(self) -> str:
        """Of the first page."""
        return url_for(f"console.{self.endpoint}")

    @property
    def is_current(self) -> bool:
        """Whether the running request is for a page of it."""
        return request.path == self.address or request.path.startswith(f"{self.address}/")


AREAS: tuple[Area, ...] = (
    Area("Worklist", "worklist", (Scope.READ,)),
    Area("Send", "send", (Scope.SUBMIT,)),
    Area("Review", "review", (Scope.READ, Scope.REVIEW)),
    Area("Queues", "queues", (Scope.READ,)),
    Area("Models", "models", (Scope.ADMIN,)),
    Area("Data", "data", (Scope.ADMIN,)),
    Area("Trainings", "trainings", (Scope.ADMIN,)),
    Area("Monitoring", "monitoring", (Scope.READ,)),
    Area("API keys", "keys", (Scope.ADMIN,)),
    Area("Audit", "audit", (Scope.ADMIN,)),
)


def areas() -> list[Area]:
    """What the visitor may see."""
    return [area for area in AREAS if all(map(may, area.scopes))]
