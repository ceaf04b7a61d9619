"""Orders: what is expected, before its images come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from shared.client.answers import Answer
from shared.client.transport import Transport, read
from shared.jobs.states import Priority, Status
from shared.orders.states import OrderState


class OrderLinks(Answer):
    """Where an order and its newest job are."""

    self: str
    job: str | None


class Order(Answer):
    """An order as it stands; `job_*` is the newest job with its accession number."""

    id: str
    state: OrderState
    accession_number: str
    priority: Priority
    specimen_id: str | None
    patient_ref: str | None
    study_uid: str | None
    procedure_code: str | None
    procedure_system: str | None
    placer: str | None
    placer_number: str | None
    filler_number: str | None
    scheduled_at: dt.datetime | None
    performer: str | None
    created_at: dt.datetime
    updated_at: dt.datetime
    job_id: str | None
    job_status: Status | None
    links: OrderLinks


class OrderPage(Answer):
    """A page of orders, newest first; `next_cursor` leads to the next one."""

    orders: list[Order]
    next_cursor: str | None


class Orders(Transport):
    """Calls of `/v1/orders`."""

    def place_order(self, accession_number: str, **fields: str | None) -> Order:
        """Place an order, or change one that is still expected.

        The same order twice is no change, so it is sent again while the service is busy.

        Args:
            accession_number: What its images, its jobs and its results are known by.
            fields: Fields besides, as `POST /v1/orders` takes them, such as `priority`.

        Raises:
            RefusedError: The order is claimed or completed (`order_closed`), or a field is wrong.
        """
        request = {"accession_number": accession_number, **fields}
        return read(Order, self._send("POST", "/v1/orders", json=request, repeatable=True))

    def order(self, order_id: str) -> Order:
        """Read an order as it stands."""
        return self._read(Order, f"/v1/orders/{order_id}")

    def orders(self, *, limit: int = 50, cursor: str | None = None, **filters: str) -> OrderPage:
        """Read a page of orders; `filters` as in the query of `GET /v1/orders`."""
        page = {"cursor": cursor} if cursor else {}
        return self._read(OrderPage, "/v1/orders", params={"limit": limit, **page, **filters})

    def each_order(self, **filters: str) -> Iterator[Order]:
        """All orders that `filters` let through, newest first, page by page."""
        cursor = None
        while True:
            page = self.orders(limit=200, cursor=cursor, **filters)
            yield from page.orders
            if (cursor := page.next_cursor) is None:
                return

    def cancel_order(self, order_id: str) -> Order:
        """Take an expected order back; its jobs go on.

        Raises:
            RefusedError: It is claimed or completed (`order_closed`).
        """
        return read(Order, self._send("DELETE", f"/v1/orders/{order_id}"))
