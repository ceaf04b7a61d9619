"""The tables.

Rows never leave their session: each domain folder turns its own into frozen entities. The allowed
states stand here as CHECK constraints too, so that no bug and no hand at a prompt writes another.
"""

from shared.db.base import Base
from shared.db.models.jobs import (
    PRIORITIES,
    SCOPES,
    STATUSES,
    ApiKeyRow,
    AuditRow,
    JobImageRow,
    JobRow,
    OutboxRow,
    WebhookRow,
)
from shared.db.models.results import (
    DECISIONS,
    EXPLANATION_METHODS,
    EXPLANATION_STATUSES,
    LEVELS,
    REVIEW_LABELS,
    URGENCIES,
    DriftMeasureRow,
    DriftWindowRow,
    ExplanationRow,
    ResultRow,
    ReviewRow,
)

__all__ = [
    "DECISIONS",
    "EXPLANATION_METHODS",
    "EXPLANATION_STATUSES",
    "LEVELS",
    "PRIORITIES",
    "REVIEW_LABELS",
    "SCOPES",
    "STATUSES",
    "URGENCIES",
    "ApiKeyRow",
    "AuditRow",
    "Base",
    "DriftMeasureRow",
    "DriftWindowRow",
    "ExplanationRow",
    "JobImageRow",
    "JobRow",
    "OutboxRow",
    "ResultRow",
    "ReviewRow",
    "WebhookRow",
]
