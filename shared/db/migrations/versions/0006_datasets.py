"""Data set versions, each a row of the queue of imports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CHECKS = {
    "status_known": "status IN ('queued', 'running', 'ready', 'failed')",
    "source_known": "source IN ('upload', 'reviews')",
    "lease_while_running": "(status = 'running') = (lease_expires_at IS NOT NULL)",
    "worker_while_running": "(status = 'running') = (worker IS NOT NULL)",
    "finished_when_ended": "(status IN ('queued', 'running')) = (finished_at IS NULL)",
    "failure_has_code": "(status = 'failed') = (error_code IS NOT NULL)",
    "version_when_ready": "(status = 'ready') = (version IS NOT NULL)",
    "version_is_whole": (
        "num_nonnulls(version, record, statistics, faults, lineage, leaks) IN (0, 6)"
    ),
    "upload_is_told": (
        "num_nonnulls(upload_sha256, upload_bytes) = CAST(source = 'upload' AS int) * 2"
    ),
    "upload_has_no_base": "source = 'reviews' OR num_nonnulls(base_id, reviews_since_id) = 0",
    "failures_are_attempts": "failures BETWEEN 0 AND attempts",
}
_DOCUMENTS = ("record", "statistics", "faults", "lineage", "leaks")


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("base_id", sa.Uuid(), nullable=True),
        sa.Column("reviews_since_id", sa.Uuid(), nullable=True),
        sa.Column("reviews_until", sa.BigInteger(), nullable=False),
        sa.Column("upload_sha256", sa.String(length=64), nullable=True),
        sa.Column("upload_bytes", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("version", sa.String(length=64), nullable=True),
        *(sa.Column(name, sa.JSON(none_as_null=True), nullable=True) for name in _DOCUMENTS),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_datasets_{name}"))
            for name, condition in _CHECKS.items()
        ),
        *(
            sa.ForeignKeyConstraint([name], ["datasets.id"], name=op.f(f"fk_datasets_{name}"))
            for name in ("base_id", "reviews_since_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index(
        "ix_datasets_open",
        "datasets",
        ["due_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index("ix_datasets_created_at", "datasets", ["created_at", "id"])
    op.create_index("ix_datasets_version", "datasets", ["version"])


def downgrade() -> None:
    op.drop_table("datasets")
