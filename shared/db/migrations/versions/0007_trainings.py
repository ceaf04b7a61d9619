"""Training runs, each a row of their queue, and their events; requests and events are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_RUN_CHECKS = {
    "status_known": "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
    "protocol_known": "protocol IN ('grouped', 'random')",
    "recipe_known": "recipe IN ('study', 'robust')",
    "seeds_given": "cardinality(seeds) > 0",
    "progress_is_fraction": "progress BETWEEN 0 AND 1",
    "seconds_left_ahead": "seconds_left >= 0",
    "lease_while_running": "(status = 'running') = (lease_expires_at IS NOT NULL)",
    "worker_while_running": "(status = 'running') = (worker IS NOT NULL)",
    "seconds_left_while_running": "status = 'running' OR seconds_left IS NULL",
    "finished_when_ended": "(status IN ('queued', 'running')) = (finished_at IS NULL)",
    "failure_has_code": "(status = 'failed') = (error_code IS NOT NULL)",
    "record_is_there": "(status = 'succeeded') = (record IS NOT NULL)",
    "failures_are_attempts": "failures BETWEEN 0 AND attempts",
}


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "training_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("seeds", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("base", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("progress", sa.Double(), server_default="0", nullable=False),
        sa.Column("seconds_left", sa.Double(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_event", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("record", sa.JSON(none_as_null=True), nullable=True),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_training_runs_{name}"))
            for name, condition in _RUN_CHECKS.items()
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_training_runs_dataset_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_runs")),
    )
    op.create_index("ix_training_runs_requested_at", "training_runs", ["requested_at", "id"])
    op.create_index(
        "ix_training_runs_open",
        "training_runs",
        ["due_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    _create_events(now)
    _tell()


def _create_events(now: sa.TextClause) -> None:
    op.create_table(
        "training_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.CheckConstraint(
            "kind IN ('epoch', 'log', 'status')", name=op.f("ck_training_events_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["training_runs.id"],
            name=op.f("fk_training_events_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_training_events")),
        sa.UniqueConstraint("run_id", "key", name=op.f("uq_training_events_run_id_key")),
    )


def _tell() -> None:
    op.execute(
        """
        CREATE FUNCTION tell_training() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.status = 'queued' THEN
                PERFORM pg_notify('training_requested', NEW.id::text);
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER tell_training AFTER INSERT OR UPDATE OF status ON training_runs
        FOR EACH ROW EXECUTE FUNCTION tell_training()
        """
    )
    op.execute(
        """
        CREATE FUNCTION tell_training_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('training_told', NEW.run_id::text);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER tell_training_event AFTER INSERT ON training_events
        FOR EACH ROW EXECUTE FUNCTION tell_training_event()
        """
    )


def downgrade() -> None:
    op.drop_table("training_events")
    op.drop_table("training_runs")
    op.execute("DROP FUNCTION tell_training_event")
    op.execute("DROP FUNCTION tell_training")
