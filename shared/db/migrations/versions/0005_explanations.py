"""Explanations, each a row of its method's queue; requests and ends are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CHECKS = {
    "method_known": "method IN ('gradcam', 'lime')",
    "status_known": "status IN ('queued', 'running', 'succeeded', 'failed')",
    "progress_is_fraction": "progress BETWEEN 0 AND 1",
    "lease_while_running": "(status = 'running') = (lease_expires_at IS NOT NULL)",
    "worker_while_running": "(status = 'running') = (worker IS NOT NULL)",
    "finished_when_ended": "(status IN ('queued', 'running')) = (finished_at IS NULL)",
    "failure_has_code": "(status = 'failed') = (error_code IS NOT NULL)",
    "answer_is_whole": "(status = 'succeeded') = (document IS NOT NULL)",
    "picture_comes_with_document": "(document IS NULL) = (png_sha256 IS NULL)",
    "failures_are_attempts": "failures BETWEEN 0 AND attempts",
    "whoever_waits_has_asked": "asked OR wanted_at IS NULL",
}


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "explanations",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("image_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("progress", sa.Double(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asked", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("png_sha256", sa.String(length=64), nullable=True),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_explanations_{name}"))
            for name, condition in _CHECKS.items()
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "image_index"],
            ["job_images.job_id", "job_images.index"],
            name=op.f("fk_explanations_job_id_image_index"),
        ),
        sa.PrimaryKeyConstraint("job_id", "image_index", "method", name=op.f("pk_explanations")),
    )
    op.create_index(
        "ix_explanations_open",
        "explanations",
        ["method", sa.text("asked DESC"), sa.text("wanted_at DESC NULLS LAST"), "due_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    _tell()


def _tell() -> None:
    op.execute(
        """
        CREATE FUNCTION tell_explanation() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.finished_at IS NOT NULL THEN
                PERFORM pg_notify(
                    'explanation_ended', concat_ws('/', NEW.job_id, NEW.image_index, NEW.method)
                );
            ELSIF NEW.status = 'queued' THEN
                PERFORM pg_notify('explanation_requested', NEW.method);
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER tell_explanation AFTER INSERT OR UPDATE OF status, wanted_at ON explanations
        FOR EACH ROW EXECUTE FUNCTION tell_explanation()
        """
    )


def downgrade() -> None:
    op.drop_table("explanations")
    op.execute("DROP FUNCTION tell_explanation")
