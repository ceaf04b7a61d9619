"""What each process may do to each table, as PostgreSQL's GRANT writes it.

What is not here is refused. A process adds a privilege here in the change that first needs it.

Some privileges are not what they seem: a row that is locked (SELECT ... FOR UPDATE) needs UPDATE,
`LOCK TABLE` needs MAINTAIN, and what INSERT, UPDATE or DELETE looks at or returns needs SELECT.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

OWNER = "owner"
"""Makes the tables, and is no role of the table: `hemotriage migrate` alone signs in as it."""

_PREFIX = "hemotriage_"

_ALL = "SELECT, INSERT, UPDATE, DELETE"
_OPEN_KEY = (
    "SELECT (id, name, scopes, created_at, jobs_per_minute, expires_at, revoked_at, "
    "allowed_hosts, successor_of, issuer, subject, tenant)"
)
"""A key without the hash of its secret: enough to know whose a job is."""

_EVENT = "INSERT (actor, action, job_id, details)"
"""An event of the audit trail: the database gives it its id and its time."""


class Role(StrEnum):
    """A process, or somebody at a prompt, with a database role of its own."""

    API = "api"
    WORKER = "worker"
    EXPLAINER = "explainer"
    SHADOW = "shadow"
    RELAY = "relay"
    TRAINER = "trainer"
    GATEWAY = "gateway"
    # The command line: keys, jobs, webhooks.
    OPERATOR = "operator"
    # What ends the time of data, and nothing else may delete of the audit trail.
    RETENTION = "retention"
    BACKUP = "backup"


def role_name(role: Role) -> str:
    """The name of a role in the database; roles belong to the whole cluster."""
    return f"{_PREFIX}{role}"


TABLES = (
    "alembic_version",
    "api_keys",
    "audit_checkpoints",
    "audit_events",
    "audit_seals",
    "datasets",
    "dicom_sources",
    "drift_measures",
    "drift_windows",
    "ended_sessions",
    "erasures",
    "explanations",
    "gates",
    "job_images",
    "jobs",
    "legal_holds",
    "model_aliases",
    "model_versions",
    "object_removals",
    "orders",
    "outbox",
    "purges",
    "removed_jobs",
    "results",
    "reviews",
    "shadow_results",
    "training_events",
    "training_runs",
    "webhooks",
)

# How every process finds the versions of models, and which of them passed their gate.
_CATALOGUE = {"gates": "SELECT", "model_aliases": "SELECT", "model_versions": "SELECT"}

GRANTS: Mapping[Role, Mapping[str, str]] = {
    Role.API: {
        **_CATALOGUE,
        "alembic_version": "SELECT",
        "api_keys": "SELECT, INSERT, UPDATE (expires_at, revoked_at)",
        "audit_checkpoints": "SELECT",
        # Calls are told together, a moment after each: with their times.
        "audit_events": "SELECT, INSERT (at, actor, action, job_id, details)",
        "audit_seals": "SELECT",
        "datasets": "SELECT, INSERT",
        "dicom_sources": "SELECT, INSERT",
        "drift_measures": "SELECT",
        "drift_windows": "SELECT",
        "ended_sessions": "SELECT, INSERT",
        "erasures": "SELECT, INSERT",
        "explanations": "SELECT, INSERT, UPDATE",
        "gates": "SELECT, INSERT",
        "job_images": "SELECT, INSERT",
        "jobs": "SELECT, INSERT, UPDATE",
        "legal_holds": "SELECT, INSERT, UPDATE (released_at, released_by)",
        "model_aliases": _ALL,
        # For how long removals have been due, at /metrics.
        "object_removals": "SELECT (due_at)",
        "orders": "SELECT, INSERT, UPDATE",
        "outbox": "SELECT, INSERT, DELETE",
        "removed_jobs": "SELECT",
        "results": "SELECT, UPDATE (case_state, case_label, held_by, held_until)",
        "reviews": "SELECT, INSERT, MAINTAIN",
        "shadow_results": "SELECT",
        "training_events": "SELECT, INSERT",
        "training_runs": "SELECT, INSERT, UPDATE",
        "webhooks": "SELECT, INSERT, UPDATE",
    },
    Role.GATEWAY: {
        **_CATALOGUE,
        "api_keys": _OPEN_KEY,
        "audit_events": _EVENT,
        "dicom_sources": "SELECT, INSERT",
        "job_images": "SELECT, INSERT",
        "jobs": "SELECT, INSERT",
        "orders": "SELECT, INSERT, UPDATE",
        "outbox": "SELECT, INSERT, DELETE",
        # A repeated request is answered with its job as it stands.
        "results": "SELECT (job_id, document)",
    },
    Role.WORKER: {
        **_CATALOGUE,
        "audit_events": _EVENT,
        "dicom_sources": "SELECT",
        "explanations": "INSERT",
        "job_images": "SELECT",
        "jobs": "SELECT, UPDATE",
        "outbox": "SELECT, INSERT",
        # What `jobs replay` looks for in vain may have been removed.
        "removed_jobs": "SELECT",
        "results": "SELECT, INSERT",
        "webhooks": "SELECT, INSERT, UPDATE",
    },
    Role.EXPLAINER: {
        **_CATALOGUE,
        "explanations": "SELECT, UPDATE",
        "job_images": "SELECT",
        "jobs": "SELECT",
        "results": "SELECT",
    },
    Role.SHADOW: {
        **_CATALOGUE,
        "job_images": "SELECT",
        "jobs": "SELECT",
        "results": "SELECT",
        "shadow_results": "SELECT, INSERT",
    },
    Role.RELAY: {
        **_CATALOGUE,
        "audit_checkpoints": "SELECT, INSERT",
        "audit_events": f"SELECT, {_EVENT}",
        "audit_seals": "SELECT, INSERT",
        "dicom_sources": "SELECT",
        "drift_measures": "SELECT, INSERT",
        "drift_windows": "SELECT, INSERT",
        "job_images": "SELECT",
        "jobs": "SELECT, UPDATE",
        "orders": "SELECT",
        "outbox": _ALL,
        "removed_jobs": "SELECT",
        "results": "SELECT",
        "webhooks": "SELECT, INSERT, UPDATE",
    },
    Role.TRAINER: {
        "api_keys": _OPEN_KEY,
        "audit_events": _EVENT,
        "datasets": "SELECT, UPDATE",
        "gates": "SELECT, UPDATE",
        "job_images": "SELECT",
        "model_aliases": "SELECT",
        "model_versions": "SELECT, INSERT",
        "results": "SELECT",
        "reviews": "SELECT",
        "training_events": "SELECT, INSERT",
        "training_runs": "SELECT, UPDATE",
    },
    Role.OPERATOR: {
        **_CATALOGUE,
        "api_keys": f"{_OPEN_KEY}, INSERT, UPDATE (expires_at, revoked_at)",
        "audit_checkpoints": "SELECT",
        "audit_events": f"SELECT, {_EVENT}",
        "audit_seals": "SELECT",
        "job_images": "SELECT",
        "jobs": "SELECT, UPDATE",
        "legal_holds": "SELECT, INSERT, UPDATE (released_at, released_by)",
        "outbox": "SELECT, INSERT",
        "removed_jobs": "SELECT",
        "results": "SELECT",
        "webhooks": "SELECT, INSERT, UPDATE",
    },
    Role.RETENTION: {
        "api_keys": f"{_OPEN_KEY}, DELETE",
        "audit_checkpoints": "SELECT, DELETE",
        "audit_events": f"SELECT, {_EVENT}, DELETE",
        "audit_seals": "SELECT, DELETE",
        "datasets": "SELECT, UPDATE, DELETE",
        "dicom_sources": "SELECT, DELETE",
        "drift_windows": "SELECT, DELETE",
        "ended_sessions": "SELECT, DELETE",
        "erasures": "SELECT, INSERT, UPDATE",
        "explanations": "SELECT, DELETE",
        "job_images": "SELECT, UPDATE (purged_at), DELETE",
        "jobs": "SELECT, UPDATE, DELETE",
        "legal_holds": "SELECT, UPDATE (value, released_at, released_by)",
        "model_versions": "SELECT",
        "object_removals": _ALL,
        "orders": "SELECT, UPDATE, DELETE",
        "outbox": "SELECT, DELETE",
        "purges": "SELECT, INSERT, UPDATE",
        "removed_jobs": "SELECT, INSERT",
        "results": "SELECT, DELETE",
        "reviews": "SELECT, UPDATE (comment), DELETE",
        "shadow_results": "SELECT, DELETE",
        "training_events": "SELECT, INSERT, DELETE",
        "training_runs": "SELECT, UPDATE",
        "webhooks": "SELECT, DELETE",
    },
    Role.BACKUP: dict.fromkeys(TABLES, "SELECT"),
}
"""By role and table; a table that a database does not have yet is passed over."""
