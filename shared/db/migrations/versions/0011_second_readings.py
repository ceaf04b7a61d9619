"""Second readings: how far the reading of each case has come, and who has it before them.

What was reviewed before stands as if it had been reviewed since.
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
# As `shared.reviews.standing` judges: by the newest review of each reader, a line of keys.
_CASES = f"""
    WITH RECURSIVE readers AS (
        SELECT id, id AS reader FROM api_keys WHERE successor_of IS NULL
        UNION ALL
        SELECT newer.id, readers.reader FROM api_keys AS newer
        JOIN readers ON newer.successor_of = readers.id
    ), newest AS (
        SELECT DISTINCT ON (reviews.job_id, readers.reader) reviews.job_id, reviews.label
        FROM reviews JOIN readers ON readers.id = reviews.api_key_id
        ORDER BY reviews.job_id, readers.reader, reviews.id DESC
    ), counted AS (
        SELECT job_id, label, count(*) AS times,
            max(count(*)) OVER (PARTITION BY job_id) AS most
        FROM newest GROUP BY job_id, label
    ), judged AS (
        SELECT job_id, sum(times) AS readings, max(most) AS most,
            count(*) FILTER (WHERE times = most) AS leaders,
            min(label) FILTER (WHERE times = most) AS label
        FROM counted GROUP BY job_id
    ), states AS (
        SELECT judged.job_id, judged.label, CASE
            WHEN readings = 1 AND (r.prediction {_MALIGNANT}) <> (judged.label {_MALIGNANT})
                THEN 'second_reading'
            WHEN readings > 1 AND (most < 2 OR leaders > 1) THEN 'disagreement'
            ELSE 'closed'
        END AS state
        FROM judged JOIN results AS r ON r.job_id = judged.job_id
    )
    UPDATE results SET
        case_state = states.state,
        case_label = CASE WHEN states.state = 'closed' THEN states.label END
    FROM states WHERE states.job_id = results.job_id
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
