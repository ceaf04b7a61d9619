"""`/v1/orders`: place, read, list and cancel orders."""

from __future__ import annotations

import uuid
from typing import Any

from apiflask import APIBlueprint

from services.api.auth import current_key, requires
from services.api.bodies import expect_little, json_input
from services.api.context import context
from services.api.order_schemas import (
    OrderIn,
    OrderListOut,
    OrderListQuery,
    OrderOut,
    order_out,
)
from shared.auth.keys import Scope
from shared.orders.place import cancel_order, place
from shared.orders.queries import OrderFilter, get_order, list_orders

bp = APIBlueprint("orders", __name__, url_prefix="/v1/orders", tag="Orders")
bp.before_request(expect_little)


# The key comes first: what a stranger sends is not even looked at.
@bp.post("")
@requires(Scope.SUBMIT)
@json_input(bp, OrderIn)
@bp.output(OrderOut, status_code=201, description="Placed.")
@bp.doc(
    summary="Place an order, or change it",
    responses={
        200: {
            "description": "The accession number was known: the order says this now.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OrderOut"}}},
        },
        **dict.fromkeys((400, 409, 413, 422), "See the problem document."),
    },
    security="bearer",
)
def post_order(asked: OrderIn) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The same order twice is no change; a cancelled one is expected again. Scope `submit`."""
    key = current_key()
    order, created = place(context().sessions, asked.order(), tenant=key.tenant, key_id=key.id)
    out = order_out(order)
    return out.model_dump(mode="json"), 201 if created else 200, {"Location": out.links.self}


@bp.get("")
@bp.input(OrderListQuery, location="query", arg_name="query")
@bp.output(OrderListOut)
@bp.doc(summary="List orders, newest first", security="bearer")
@requires(Scope.READ)
def read_orders(query: OrderListQuery) -> dict[str, Any]:
    """Filtered by state, numbers, patient, priority and scheduled time. Scope `read`."""
    criteria = OrderFilter(**query.model_dump(exclude={"cursor", "limit"}))
    page = list_orders(
        context().sessions,
        criteria,
        tenant=current_key().tenant,
        limit=query.limit,
        cursor=query.cursor,
    )
    orders = [order_out(order) for order in page.orders]
    return OrderListOut(orders=orders, next_cursor=page.next_cursor).model_dump(mode="json")


@bp.get("/<uuid:order_id>")
@bp.output(OrderOut)
@bp.doc(summary="Read an order", responses=[404], security="bearer")
@requires(Scope.READ)
def read_order(order_id: uuid.UUID) -> dict[str, Any]:
    """Its state, and the newest job with its accession number. Scope `read`."""
    order = get_order(context().sessions, order_id, tenant=current_key().tenant)
    return order_out(order).model_dump(mode="json")


@bp.delete("/<uuid:order_id>")
@bp.output(OrderOut)
@bp.doc(summary="Cancel an order", responses=[404, 409], security="bearer")
@requires(Scope.SUBMIT)
def delete_order(order_id: uuid.UUID) -> dict[str, Any]:
    """Takes an expected order back; its jobs go on. Scope `submit`."""
    key = current_key()
    order = cancel_order(context().sessions, order_id, tenant=key.tenant, key_id=key.id)
    return order_out(order).model_dump(mode="json")
