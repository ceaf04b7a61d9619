"""Registered model versions, aliases, gates that judge versions, and results of challengers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")

_GATE_CHECKS = {
    "status_known": "status IN ('queued', 'running', 'passed', 'refused', 'failed')",
    "lease_while_running": "(status = 'running') = (lease_expires_at IS NOT NULL)",
    "worker_while_running": "(status = 'running') = (worker IS NOT NULL)",
    "finished_when_ended": "(status IN ('queued', 'running')) = (finished_at IS NULL)",
    "failure_has_code": "(status = 'failed') = (error_code IS NOT NULL)",
    "report_when_judged": "(status IN ('passed', 'refused')) = (report IS NOT NULL)",
    "failures_are_attempts": "failures BETWEEN 0 AND attempts",
}
_ALIAS_CHECKS = {
    "alias_known": "alias IN ('champion', 'challenger', 'previous')",
    "canary_is_percentage": "canary_percent BETWEEN 0 AND 100",
    "canary_is_of_challenger": "canary_percent = 0 OR alias = 'challenger'",
}
_SHADOW_CHECKS = {
    "result_or_error": "(document IS NULL) <> (error_code IS NULL)",
    "result_is_whole": "num_nonnulls(document, agrees, prediction, confidence, urgency) IN (0, 5)",
}


def upgrade() -> None:
    _create_versions()
    _create_gates()
    _create_shadow_results()


def _create_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("training_id", sa.Uuid(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.CheckConstraint("version > 0", name=op.f("ck_model_versions_version_positive")),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training_runs.id"], name=op.f("fk_model_versions_training_id")
        ),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_model_versions")),
    )
    op.create_index("ix_model_versions_training_id", "model_versions", ["training_id"])
    op.create_table(
        "model_aliases",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("canary_percent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        *_checks("model_aliases", _ALIAS_CHECKS),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_model_aliases")),
    )


def _create_gates() -> None:
    op.create_table(
        "gates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=True),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("policy_sha256", sa.String(64), nullable=True),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=True),
        *_checks("gates", _GATE_CHECKS),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_gates_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gates")),
    )
    op.create_index(
        "ix_gates_open", "gates", ["due_at"], postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_index("ix_gates_requested_at", "gates", ["requested_at", "id"])
    op.create_index("ix_gates_name_version", "gates", ["name", "version", "requested_at"])


def _create_shadow_results() -> None:
    op.create_table(
        "shadow_results",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=True),
        sa.Column("prediction", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("urgency", sa.Text(), nullable=True),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        *_checks("shadow_results", _SHADOW_CHECKS),
        sa.ForeignKeyConstraint(
            ["job_id"], ["results.job_id"], name=op.f("fk_shadow_results_job_id")
        ),
        sa.PrimaryKeyConstraint("job_id", "name", "version", name=op.f("pk_shadow_results")),
    )
    op.create_index("ix_shadow_results_of_version", "shadow_results", ["name", "version", "job_id"])
    op.create_index(
        "ix_shadow_results_disagreements",
        "shadow_results",
        ["name", "version", "job_id"],
        postgresql_where=sa.text("NOT agrees"),
    )


def _checks(table: str, conditions: dict[str, str]) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def downgrade() -> None:
    for table in ("shadow_results", "gates", "model_aliases", "model_versions"):
        op.drop_table(table)
