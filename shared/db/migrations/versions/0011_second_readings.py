"""Second readings: how far the reading of each case has come, and who has it before them.

Of what was reviewed before, the newest review counts as the only reading.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATES = "'unread', 'second_reading', 'disagreement', 'closed'"
_LABELS = "'Benign', 'Early', 'Pre', 'Pro', 'other'"
_DUE_AT = (
    "(created_at AT TIME ZONE 'UTC'"
    " + make_interval(secs => (document ->> 'within_hours')::double precision * 3600))"
    " AT TIME ZONE 'UTC'"
)
_MALIGNANT = "IN ('Early', 'Pre', 'Pro')"
_CASES = f"""
    UPDATE results SET
        case_state = CASE WHEN takes_two THEN 'second_reading' ELSE 'closed' END,
        case_label = CASE WHEN takes_two THEN NULL ELSE newest.label END
    FROM (
        SELECT DISTINCT ON (reviews.job_id) reviews.job_id, reviews.label,
            (r.prediction {_MALIGNANT}) <> (reviews.label {_MALIGNANT}) AS takes_two
        FROM reviews JOIN results AS r ON r.job_id = reviews.job_id
        ORDER BY reviews.job_id, reviews.id DESC
    ) AS newest
    WHERE newest.job_id = results.job_id
"""  # noqa: S608 - of constants alone
_CHECKS = {
    "case_state_known": f"case_state IN ({_STATES})",
    "case_label_known": f"case_label IN ({_LABELS})",
    "label_when_closed": "(case_state = 'closed') = (case_label IS NOT NULL)",
    "hold_is_whole": "(held_by IS NULL) = (held_until IS NULL)",
}


def upgrade() -> None:
    op.add_column(
        "reviews",
        sa.Column("asks_second", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_index("ix_reviews_api_key_id", "reviews", ["api_key_id", "id"])
    for column in (
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            sa.Computed(_DUE_AT, persisted=True),
            nullable=True,
        ),
        sa.Column("case_state", sa.Text(), server_default="unread", nullable=False),
        sa.Column("case_label", sa.Text(), nullable=True),
        sa.Column("held_by", sa.String(16), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("results", column)
    op.execute(_CASES)
    for name, condition in _CHECKS.items():
        op.create_check_constraint(op.f(f"ck_results_{name}"), "results", condition)
    op.create_foreign_key(op.f("fk_results_held_by"), "results", "api_keys", ["held_by"], ["id"])
    op.create_index(
        "ix_results_open",
        "results",
        ["urgency", "due_at", "created_at"],
        postgresql_where=sa.text("case_state <> 'closed'"),
    )
    op.create_index(
        "ix_results_held_by",
        "results",
        ["held_by"],
        postgresql_where=sa.text("held_by IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_results_held_by", "results")
    op.drop_index("ix_results_open", "results")
    for column in ("held_until", "held_by", "case_label", "case_state", "due_at"):
        op.drop_column("results", column)
    op.drop_index("ix_reviews_api_key_id", "reviews")
    op.drop_column("reviews", "asks_second")
