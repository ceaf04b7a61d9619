"""The tables.

Rows never leave their session: each domain folder turns its own into frozen entities. The allowed
states stand here as CHECK constraints too, so that no bug and no hand at a prompt writes another.
"""

from shared.db.base import Base
from shared.db.models.audit import AuditCheckpointRow, AuditRow, AuditSealRow
from shared.db.models.datasets import DATASET_SOURCES, DATASET_STATUSES, DatasetRow
from shared.db.models.jobs import (
    DEFAULT_TENANT,
    PRIORITIES,
    SCOPES,
    STATUSES,
    ApiKeyRow,
    DicomSourceRow,
    JobImageRow,
    JobRow,
    OutboxRow,
    WebhookRow,
)
from shared.db.models.orders import ORDER_STATES, OrderRow
from shared.db.models.registry import (
    GATE_STATUSES,
    MODEL_ALIASES,
    GateRow,
    ModelAliasRow,
    ModelVersionRow,
    ShadowResultRow,
)
from shared.db.models.results import (
    CASE_STATES,
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
from shared.db.models.retention import (
    ERASURE_STATUSES,
    HOLD_KINDS,
    REMOVALS,
    ErasureRow,
    LegalHoldRow,
    ObjectRemovalRow,
    PurgeRow,
    RemovedJobRow,
)
from shared.db.models.sessions import EndedSessionRow
from shared.db.models.trainings import (
    TRAINING_EVENTS,
    TRAINING_PROTOCOLS,
    TRAINING_RECIPES,
    TRAINING_STATUSES,
    TrainingEventRow,
    TrainingRunRow,
)

__all__ = [
    "CASE_STATES",
    "DATASET_SOURCES",
    "DATASET_STATUSES",
    "DECISIONS",
    "DEFAULT_TENANT",
    "ERASURE_STATUSES",
    "EXPLANATION_METHODS",
    "EXPLANATION_STATUSES",
    "GATE_STATUSES",
    "HOLD_KINDS",
    "LEVELS",
    "MODEL_ALIASES",
    "ORDER_STATES",
    "PRIORITIES",
    "REMOVALS",
    "REVIEW_LABELS",
    "SCOPES",
    "STATUSES",
    "TRAINING_EVENTS",
    "TRAINING_PROTOCOLS",
    "TRAINING_RECIPES",
    "TRAINING_STATUSES",
    "URGENCIES",
    "ApiKeyRow",
    "AuditCheckpointRow",
    "AuditRow",
    "AuditSealRow",
    "Base",
    "DatasetRow",
    "DicomSourceRow",
    "DriftMeasureRow",
    "DriftWindowRow",
    "EndedSessionRow",
    "ErasureRow",
    "ExplanationRow",
    "GateRow",
    "JobImageRow",
    "JobRow",
    "LegalHoldRow",
    "ModelAliasRow",
    "ModelVersionRow",
    "ObjectRemovalRow",
    "OrderRow",
    "OutboxRow",
    "PurgeRow",
    "RemovedJobRow",
    "ResultRow",
    "ReviewRow",
    "ShadowResultRow",
    "TrainingEventRow",
    "TrainingRunRow",
    "WebhookRow",
]
