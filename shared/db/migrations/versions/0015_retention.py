"""Legal holds and what was purged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()


def upgrade() -> None:
    _add_to_what_is_there()
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "value", "reason")),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placed_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "kind IN ('job', 'patient_ref', 'accession_number')",
            name=op.f("ck_legal_holds_kind_known"),
        ),
        sa.CheckConstraint(
            "(released_at IS NULL) = (released_by IS NULL)",
            name=op.f("ck_legal_holds_released_by_somebody"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_holds")),
    )
    op.create_index(
        "ix_legal_holds_open",
        "legal_holds",
        ["kind", "value"],
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index("ix_legal_holds_placed_at", "legal_holds", ["placed_at", "id"])
    _make_erasures()
    op.create_table(
        "removed_jobs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.Uuid(), nullable=True),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("why IN ('erased', 'purged')", name=op.f("ck_removed_jobs_why_known")),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasures.id"], name=op.f("fk_removed_jobs_erasure_id")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_removed_jobs")),
    )
    op.create_table(
        "object_removals",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("due_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("again_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_object_removals")),
    )
    op.create_index("ix_object_removals_due_at", "object_removals", ["due_at"])
    op.create_table(
        "purges",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("before", _TIME, nullable=False),
        sa.Column("removed", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", name=op.f("pk_purges")),
    )
    op.create_index("ix_purges_at", "purges", ["at"])


def _add_to_what_is_there() -> None:
    # What is made outside of the transaction may have been made before, by one that was cut off.
    purged_at = sa.Column("purged_at", _TIME, nullable=True)
    op.add_column("job_images", purged_at, if_not_exists=True)
    with op.get_context().autocommit_block():
        _make_index("ix_job_images_kept", "job_images", "job_id", "purged_at IS NULL")
        for table in ("jobs", "orders"):
            _make_index(f"ix_{table}_patient_ref", table, "patient_ref", "patient_ref IS NOT NULL")
    op.add_column("datasets", sa.Column("withdrawn_at", _TIME, nullable=True))
    op.create_check_constraint(
        op.f("ck_datasets_withdrawn_when_ready"),
        "datasets",
        "withdrawn_at IS NULL OR status = 'ready'",
    )


def _make_index(name: str, table: str, column: str, where: str) -> None:
    op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
    op.create_index(
        name,
        table,
        [column],
        postgresql_where=sa.text(where),
        postgresql_concurrently=True,
        if_not_exists=True,
    )


def _make_erasures() -> None:
    ids = ("job_ids", "order_ids", "dataset_ids", "hold_ids")
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("patient_ref", sa.Text(), nullable=True),
        sa.Column("ref_digest", sa.String(64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("counts", JSONB(), server_default="{}", nullable=False),
        *(sa.Column(name, ARRAY(sa.Uuid()), server_default="{}", nullable=False) for name in ids),
        sa.Column("models", ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.CheckConstraint(
            "status IN ('queued', 'done', 'refused')", name=op.f("ck_erasures_status_known")
        ),
        sa.CheckConstraint(
            "(status = 'queued') = (finished_at IS NULL)",
            name=op.f("ck_erasures_finished_when_ended"),
        ),
        sa.CheckConstraint(
            "(status = 'queued') = (patient_ref IS NOT NULL)",
            name=op.f("ck_erasures_patient_until_ended"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(
        "ix_erasures_queued",
        "erasures",
        ["requested_at"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index("ix_erasures_requested_at", "erasures", ["requested_at", "id"])


def downgrade() -> None:
    for table in ("purges", "object_removals", "removed_jobs", "erasures", "legal_holds"):
        op.drop_table(table)
    op.drop_column("datasets", "withdrawn_at")
    for table in ("jobs", "orders"):
        op.drop_index(f"ix_{table}_patient_ref", table)
    op.drop_column("job_images", "purged_at")
