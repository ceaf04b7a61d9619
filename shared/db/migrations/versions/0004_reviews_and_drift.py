"""Reviews, and what is found of drift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_results_created_at", "results", ["created_at", "job_id"])
    _create_reviews()
    _create_drift()


def _create_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("api_key_id", sa.String(length=16), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "decision IN ('confirm', 'override')", name=op.f("ck_reviews_decision_known")
        ),
        sa.CheckConstraint(
            "label IN ('Benign', 'Early', 'Pre', 'Pro', 'other')",
            name=op.f("ck_reviews_label_known"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["results.job_id"], name=op.f("fk_reviews_job_id")),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_reviews_api_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_job_id", "reviews", ["job_id", "id"])
    op.create_index("ix_reviews_at", "reviews", ["at"])


def _create_drift() -> None:
    op.create_table(
        "drift_windows",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("window_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("results", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_windows")),
    )
    op.create_index("ix_drift_windows_window_to", "drift_windows", ["window_to"])
    op.create_table(
        "drift_measures",
        sa.Column("window_id", sa.BigInteger(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("fields", sa.Integer(), nullable=False),
        sa.Column("psi", sa.Double(), nullable=True),
        sa.Column("noise", sa.Double(), nullable=True),
        sa.Column("ks", sa.Double(), nullable=True),
        sa.Column("ks_p", sa.Double(), nullable=True),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("alert", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "level IN ('ok', 'watch', 'alert', 'too_few', 'no_reference')",
            name=op.f("ck_drift_measures_level_known"),
        ),
        sa.CheckConstraint("ks BETWEEN 0 AND 1", name=op.f("ck_drift_measures_ks_is_distance")),
        sa.CheckConstraint(
            "ks_p BETWEEN 0 AND 1", name=op.f("ck_drift_measures_ks_p_is_probability")
        ),
        sa.ForeignKeyConstraint(
            ["window_id"],
            ["drift_windows.id"],
            name=op.f("fk_drift_measures_window_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "window_id",
            "model_name",
            "model_version",
            "measure",
            name=op.f("pk_drift_measures"),
        ),
    )


def downgrade() -> None:
    op.drop_table("drift_measures")
    op.drop_table("drift_windows")
    op.drop_table("reviews")
    op.drop_index("ix_results_created_at", "results")
