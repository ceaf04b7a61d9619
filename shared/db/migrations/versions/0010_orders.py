"""Orders: cases that are expected, before their images come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("api_key_id", sa.String(16), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="expected", nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("specimen_id", sa.Text(), nullable=True),
        sa.Column("patient_ref", sa.Text(), nullable=True),
        sa.Column("study_uid", sa.Text(), nullable=True),
        sa.Column("procedure_code", sa.Text(), nullable=True),
        sa.Column("procedure_system", sa.Text(), nullable=True),
        sa.Column("placer", sa.Text(), nullable=True),
        sa.Column("placer_number", sa.Text(), nullable=True),
        sa.Column("filler_number", sa.Text(), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("transaction_uid", sa.Text(), nullable=True),
        sa.Column("performer", sa.String(16), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.CheckConstraint(
            "state IN ('expected', 'claimed', 'completed', 'cancelled')",
            name=op.f("ck_orders_state_known"),
        ),
        sa.CheckConstraint(
            "priority IN ('stat', 'urgent', 'routine')", name=op.f("ck_orders_priority_known")
        ),
        sa.CheckConstraint(
            "state <> 'claimed' OR (transaction_uid IS NOT NULL AND performer IS NOT NULL)",
            name=op.f("ck_orders_claimed_by_somebody"),
        ),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_keys.id"], name=op.f("fk_orders_api_key_id")),
        sa.ForeignKeyConstraint(["performer"], ["api_keys.id"], name=op.f("fk_orders_performer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("accession_number", name=op.f("uq_orders_accession_number")),
    )
    op.create_index("ix_orders_created_at_id", "orders", ["created_at", "id"])
    op.create_index("ix_orders_state", "orders", ["state", "created_at"])


def downgrade() -> None:
    op.drop_table("orders")
