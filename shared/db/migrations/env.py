"""Runs migrations on the connection that `shared.db.migrate` hands over."""

from __future__ import annotations

from alembic import context

import shared.db.models  # noqa: F401 - the tables, which fill the metadata
from shared.db.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
