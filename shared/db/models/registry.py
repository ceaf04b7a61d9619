"""Registered model versions, the aliases that choose among all versions, and what judges them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of

# The schema's own words. The enums of the domain are tested against them.
MODEL_ALIASES = ("champion", "challenger", "previous")
GATE_STATUSES = ("queued", "running", "passed", "refused", "failed")


class ModelVersionRow(Base):
    """A version that a training run made; it never changes.

    Its artefacts are in the object store, under keys made of their content. Versions that are
    shipped with the software have no row.
    """

    __tablename__ = "model_versions"
    __table_args__ = (
        CheckConstraint("version > 0", name="version_positive"),
        Index("ix_model_versions_training_id", "training_id"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # JSON and not JSONB: the classes keep their order.
    card: Mapped[dict[str, Any]] = mapped_column(JSON)
    training_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("training_runs.id"))
    registered_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class ModelAliasRow(Base):
    """What an alias stands for: a registered version, or a shipped one.

    Without a row of its own, `champion` is the one that `models/aliases.json` names.
    """

    __tablename__ = "model_aliases"
    __table_args__ = (
        CheckConstraint(one_of("alias", MODEL_ALIASES), name="alias_known"),
        CheckConstraint("canary_percent BETWEEN 0 AND 100", name="canary_is_percentage"),
        CheckConstraint(
            "canary_percent = 0 OR alias = 'challenger'", name="canary_is_of_challenger"
        ),
    )

    alias: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    # Share of the jobs for the champion that the challenger gets.
    canary_percent: Mapped[int] = mapped_column(server_default="0")
    since: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class GateRow(Base):
    """A version that is compared with the champion on a locked test set: a row of its own queue."""

    __tablename__ = "gates"
    __table_args__ = (
        CheckConstraint(one_of("status", GATE_STATUSES), name="status_known"),
        CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"
        ),
        CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="worker_while_running"),
        CheckConstraint(
            "(status IN ('queued', 'running')) = (finished_at IS NULL)", name="finished_when_ended"
        ),
        CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failure_has_code"),
        CheckConstraint(
            "(status IN ('passed', 'refused')) = (report IS NOT NULL)", name="report_when_judged"
        ),
        CheckConstraint("failures BETWEEN 0 AND attempts", name="failures_are_attempts"),
        Index("ix_gates_open", "due_at", postgresql_where=text("finished_at IS NULL")),
        Index("ix_gates_requested_at", "requested_at", "id"),
        Index("ix_gates_name_version", "name", "version", "requested_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    # NAME@VERSION when the gate was asked for; null where there was none.
    champion: Mapped[str | None]
    # The locked test set.
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"))
    status: Mapped[str] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Attempts that count against it: a crash, an error that no outage explains.
    failures: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    requested_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # SHA-256 of the policy file that judged; a verdict by another policy counts no more.
    policy_sha256: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class ShadowResultRow(Base):
    """What a challenger says of a job whose result another version gave; that stays as it is."""

    __tablename__ = "shadow_results"
    __table_args__ = (
        CheckConstraint("(document IS NULL) <> (error_code IS NULL)", name="result_or_error"),
        CheckConstraint(
            "num_nonnulls(document, agrees, prediction, confidence, urgency) IN (0, 5)",
            name="result_is_whole",
        ),
        Index("ix_shadow_results_of_version", "name", "version", "job_id"),
        Index(
            "ix_shadow_results_disagreements",
            "name",
            "version",
            "job_id",
            postgresql_where=text("NOT agrees"),
        ),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("results.job_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Whether prediction and urgency are those of the job's result.
    agrees: Mapped[bool | None]
    prediction: Mapped[str | None]
    confidence: Mapped[float | None]
    urgency: Mapped[str | None]
    document: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error_code: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
