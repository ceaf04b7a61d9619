"""Isolation of suspects, expiry, rates of keys, webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("jobs_per_minute", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_api_keys_rate_positive"), "api_keys", "jobs_per_minute > 0")
    op.add_column("jobs", sa.Column("callback_url", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("failures", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "jobs", sa.Column("isolated", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column(
        "jobs",
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now() + interval '3 days'"),
            nullable=False,
        ),
    )
    op.drop_constraint(op.f("ck_jobs_attempts_not_negative"), "jobs")
    op.create_check_constraint(
        op.f("ck_jobs_failures_are_attempts"), "jobs", "failures BETWEEN 0 AND attempts"
    )
    op.drop_index("ix_jobs_queued", "jobs")
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["priority", "queued_at"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_jobs_expires_at",
        "jobs",
        ["expires_at"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index("ix_jobs_api_key_id_submitted_at", "jobs", ["api_key_id", "submitted_at"])
    op.create_index("ix_outbox_job_id", "outbox", ["job_id"])
    _create_webhooks()


def _create_webhooks() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=now, nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "next_attempt_at IS NULL OR delivered_at IS NULL",
            name=op.f("ck_webhooks_due_until_delivered"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_webhooks_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(
        "ix_webhooks_due",
        "webhooks",
        ["next_attempt_at"],
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index("ix_webhooks_job_id", "webhooks", ["job_id"])


def downgrade() -> None:
    op.drop_table("webhooks")
    op.drop_index("ix_outbox_job_id", "outbox")
    op.drop_index("ix_jobs_api_key_id_submitted_at", "jobs")
    op.drop_index("ix_jobs_expires_at", "jobs")
    op.drop_index("ix_jobs_queued", "jobs")
    op.create_index(
        "ix_jobs_queued", "jobs", ["queued_at"], postgresql_where=sa.text("status = 'queued'")
    )
    op.drop_constraint(op.f("ck_jobs_failures_are_attempts"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_attempts_not_negative"), "jobs", "attempts >= 0")
    op.drop_column("jobs", "expires_at")
    op.drop_column("jobs", "isolated")
    op.drop_column("jobs", "failures")
    op.drop_column("jobs", "callback_url")
    op.drop_constraint(op.f("ck_api_keys_rate_positive"), "api_keys")
    op.drop_column("api_keys", "jobs_per_minute")
