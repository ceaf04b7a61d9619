"""Where DICOM images came from; keys bound to hosts, keys that succeed others, identities."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dicom_sources",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.CheckConstraint("frame > 0", name=op.f("ck_dicom_sources_frame_positive")),
        sa.ForeignKeyConstraint(
            ["job_id", "index"],
            ["job_images.job_id", "job_images.index"],
            name=op.f("fk_dicom_sources_job_id_index"),
        ),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_dicom_sources")),
    )
    op.create_index("ix_dicom_sources_study_uid", "dicom_sources", ["study_uid"])
    op.create_index("ix_dicom_sources_instance_uid", "dicom_sources", ["instance_uid"])
    op.create_index("ix_audit_events_actor", "audit_events", ["actor", "id"])
    op.create_index("ix_audit_events_action", "audit_events", ["action", "id"])
    op.add_column("api_keys", sa.Column("allowed_hosts", sa.ARRAY(sa.Text()), nullable=True))
    op.add_column("api_keys", sa.Column("successor_of", sa.String(16), nullable=True))
    op.add_column("api_keys", sa.Column("issuer", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("subject", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_api_keys_successor_of"), "api_keys", "api_keys", ["successor_of"], ["id"]
    )
    op.create_unique_constraint(
        op.f("uq_api_keys_issuer_subject"), "api_keys", ["issuer", "subject"]
    )
    op.create_check_constraint(
        op.f("ck_api_keys_identity_is_whole"), "api_keys", "(issuer IS NULL) = (subject IS NULL)"
    )


def downgrade() -> None:
    op.drop_index("ix_audit_events_action")
    op.drop_index("ix_audit_events_actor")
    op.drop_table("dicom_sources")
    op.drop_constraint(op.f("ck_api_keys_identity_is_whole"), "api_keys")
    op.drop_constraint(op.f("uq_api_keys_issuer_subject"), "api_keys")
    op.drop_constraint(op.f("fk_api_keys_successor_of"), "api_keys")
    for column in ("subject", "issuer", "successor_of", "allowed_hosts"):
        op.drop_column("api_keys", column)
