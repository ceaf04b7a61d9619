"""Training runs, and what is told of them while they run."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of

# The schema's own words. The enums of the domain are tested against them.
TRAINING_STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
TRAINING_PROTOCOLS = ("grouped", "random")
TRAINING_RECIPES = ("study", "robust")
TRAINING_EVENTS = ("epoch", "log", "status")


class TrainingRunRow(Base):
    """A training run: its own place in the queue of runs."""

    __tablename__ = "training_runs"
    __table_args__ = (
        CheckConstraint(one_of("status", TRAINING_STATUSES), name="status_known"),
        CheckConstraint(one_of("protocol", TRAINING_PROTOCOLS), name="protocol_known"),
        CheckConstraint(one_of("recipe", TRAINING_RECIPES), name="recipe_known"),
        CheckConstraint("cardinality(seeds) > 0", name="seeds_given"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress_is_fraction"),
        CheckConstraint("seconds_left >= 0", name="seconds_left_ahead"),
        CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"
        ),
        CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="worker_while_running"),
        CheckConstraint(
            "status = 'running' OR seconds_left IS NULL", name="seconds_left_while_running"
        ),
        CheckConstraint(
            "(status IN ('queued', 'running')) = (finished_at IS NULL)", name="finished_when_ended"
        ),
        CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failure_has_code"),
        CheckConstraint("(status = 'succeeded') = (record IS NOT NULL)", name="record_is_there"),
        CheckConstraint("failures BETWEEN 0 AND attempts", name="failures_are_attempts"),
        Index("ix_training_runs_requested_at", "requested_at", "id"),
        Index("ix_training_runs_open", "due_at", postgresql_where=text("finished_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    architecture: Mapped[str]
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"))
    protocol: Mapped[str]
    recipe: Mapped[str]
    seeds: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    # Fields of the plan that are not the recipe's.
    overrides: Mapped[dict[str, Any]] = mapped_column(JSON)
    # The version whose weights are trained further, NAME@VERSION.
    base: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="queued")
    # Between 0 and 1; kept when a run is handed back, for it goes on from its checkpoint.
    progress: Mapped[float] = mapped_column(server_default="0")
    seconds_left: Mapped[float | None]
    device: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Attempts that count against it: a crash, an error that no outage explains.
    failures: Mapped[int] = mapped_column(server_default="0")
    # The number of the newest event.
    last_event: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    requested_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # From when on it may be taken; after an outage that is a little later.
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # JSON and not JSONB: the figures keep their order.
    record: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class TrainingEventRow(Base):
    """What is told of a run, in order: an epoch's figures, a line of its log, a change of status.

    The key tells an event from all others of its run, so that one told twice is there once.
    """

    __tablename__ = "training_events"
    __table_args__ = (
        CheckConstraint(one_of("kind", TRAINING_EVENTS), name="kind_known"),
        UniqueConstraint("run_id", "key"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("training_runs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    key: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
