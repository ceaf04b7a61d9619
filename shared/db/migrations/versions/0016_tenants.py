"""Tenants: of keys, and of all cases.

A constant default is kept in the catalogue, so that no table is rewritten. The indexes are made
beside the service, outside of a transaction; a run that was cut off is repeated from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLES = (
    *("api_keys", "jobs", "results", "orders", "datasets"),
    *("legal_holds", "erasures", "removed_jobs"),
)
_OPEN = {"postgresql_where": sa.text("case_state <> 'closed'")}
_UNSUCCESSFUL = {"postgresql_where": sa.text("status IN ('failed', 'dead')")}
_UNIQUE_OF_ORDERS = "uq_orders_tenant_accession_number"


class _Index(NamedTuple):
    name: str
    table: str
    columns: tuple[str, ...]
    options: Mapping[str, Any] = MappingProxyType({})


_INDEXES = (
    _Index("ix_jobs_tenant_submitted_at_id", "jobs", ("tenant", "submitted_at", "id")),
    _Index("ix_jobs_tenant_accession_number", "jobs", ("tenant", "accession_number")),
    _Index("ix_jobs_unsuccessful", "jobs", ("tenant", "finished_at"), _UNSUCCESSFUL),
    _Index("ix_results_tenant_urgency", "results", ("tenant", "urgency")),
    _Index("ix_results_tenant_created_at", "results", ("tenant", "created_at")),
    _Index(
        "ix_results_tenant_open", "results", ("tenant", "urgency", "due_at", "created_at"), _OPEN
    ),
    _Index("ix_orders_tenant_created_at_id", "orders", ("tenant", "created_at", "id")),
    _Index("ix_orders_tenant_state", "orders", ("tenant", "state", "created_at")),
    _Index(_UNIQUE_OF_ORDERS, "orders", ("tenant", "accession_number"), {"unique": True}),
)
_INDEXES_BEFORE = (
    _Index("ix_jobs_submitted_at_id", "jobs", ("submitted_at", "id")),
    _Index("ix_jobs_accession_number", "jobs", ("accession_number",)),
    _Index("ix_results_urgency", "results", ("urgency",)),
    _Index("ix_results_open", "results", ("urgency", "due_at", "created_at"), _OPEN),
    _Index("ix_orders_created_at_id", "orders", ("created_at", "id")),
    _Index("ix_orders_state", "orders", ("state", "created_at")),
)


def upgrade() -> None:
    for table in _TABLES:
        tenant = sa.Column("tenant", sa.Text(), server_default="default", nullable=False)
        op.add_column(table, tenant, if_not_exists=True)
    with op.get_context().autocommit_block():
        for index in _INDEXES:
            _drop(index)
            op.create_index(
                index.name,
                index.table,
                list(index.columns),
                postgresql_concurrently=True,
                if_not_exists=True,
                **index.options,
            )
        for index in _INDEXES_BEFORE:
            _drop(index)
    _of_keys()
    op.drop_constraint(op.f("uq_orders_accession_number"), "orders")
    op.execute(
        f"ALTER TABLE orders ADD CONSTRAINT {_UNIQUE_OF_ORDERS} "
        f"UNIQUE USING INDEX {_UNIQUE_OF_ORDERS}"
    )


def _drop(index: _Index) -> None:
    op.drop_index(index.name, index.table, if_exists=True, postgresql_concurrently=True)


def _of_keys() -> None:
    op.create_check_constraint(
        op.f("ck_api_keys_tenant_named"), "api_keys", "tenant ~ '^[a-z0-9][a-z0-9-]{0,31}$'"
    )
    op.create_check_constraint(
        op.f("ck_api_keys_admin_of_default"),
        "api_keys",
        "tenant = 'default' OR NOT ('admin' = ANY (scopes))",
    )
    op.drop_constraint(op.f("uq_api_keys_issuer_subject"), "api_keys")
    op.create_unique_constraint(
        op.f("uq_api_keys_issuer_subject_tenant"), "api_keys", ["issuer", "subject", "tenant"]
    )


def downgrade() -> None:
    """Fails where two tenants have an order of one number, or an identity: neither may be lost."""
    op.create_unique_constraint(op.f("uq_orders_accession_number"), "orders", ["accession_number"])
    op.drop_constraint(op.f(_UNIQUE_OF_ORDERS), "orders")
    for index in _INDEXES:
        op.drop_index(index.name, index.table, if_exists=True)
    for index in _INDEXES_BEFORE:
        op.create_index(index.name, index.table, list(index.columns), **index.options)
    op.drop_constraint(op.f("uq_api_keys_issuer_subject_tenant"), "api_keys")
    op.create_unique_constraint(
        op.f("uq_api_keys_issuer_subject"), "api_keys", ["issuer", "subject"]
    )
    op.drop_constraint(op.f("ck_api_keys_admin_of_default"), "api_keys")
    op.drop_constraint(op.f("ck_api_keys_tenant_named"), "api_keys")
    for table in reversed(_TABLES):
        op.drop_column(table, "tenant")
