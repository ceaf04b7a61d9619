"""Dead jobs, found among all that failed: made beside the service, outside of a transaction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_INDEX = "ix_jobs_dead"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # A run that was cut off leaves an index that is not valid.
        op.drop_index(_INDEX, "jobs", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            _INDEX,
            "jobs",
            ["error_code"],
            postgresql_concurrently=True,
            if_not_exists=True,
            postgresql_where=sa.text("status = 'dead'"),
        )


def downgrade() -> None:
    op.drop_index(_INDEX, "jobs", if_exists=True)
