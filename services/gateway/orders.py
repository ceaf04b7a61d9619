"""Takes orders out of HL7 messages, and acknowledges them after the commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.gateway.keys import GatewayKey
from services.gateway.status import log_unforeseen
from shared.auth.hosts import Address
from shared.auth.keys import ApiKey
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.errors import HemotriageError
from shared.interop.hl7.ack import Refusal, acknowledge
from shared.interop.hl7.orders import OrderRequest, read_orders
from shared.interop.hl7.read import Condition, Hl7Error, Message, read_message
from shared.orders.entities import Order
from shared.orders.place import put, take_back
from shared.orders.queries import find_order
from shared.orders.states import OrderClosedError, OrderExistsError
from shared.outage import is_outage
from shared.settings import Settings
from shared.telemetry.about import about, new_request_id
from shared.telemetry.tracing import Kind, span

_log = logging.getLogger(__name__)

_UNFORESEEN = "internal_error"


@dataclass(frozen=True)
class OrderIntake:
    """Answers messages; safe to share between threads."""

    settings: Settings
    sessions: Sessions
    key: GatewayKey

    def answer(self, data: bytes, address: Address | None) -> bytes:
        """Do all that a message asks for, or nothing of it; returns its acknowledgement.

        Args:
            data: The message, without its frame.
            address: Where it came from.
        """
        with about(request_id=new_request_id()), span("HL7 message", kind=Kind.SERVER) as taking:
            acknowledgement, refusal = self._answer(data, address)
            if refusal is not None:
                taking.fail(refusal.code)
            return acknowledgement

    def _answer(self, data: bytes, address: Address | None) -> tuple[bytes, Refusal | None]:
        asked, refusal = None, None
        try:
            asked = read_message(data)
            self._take(asked, address)
        except Exception as error:  # a sender must get its answer, whatever went wrong
            refusal = _refusal(error)
            if refusal.code == _UNFORESEEN:
                log_unforeseen(error)
            told = {"code": refusal.code, "address": str(address)}
            _log.warning("HL7 message refused", extra=told)
        return acknowledge(asked, refusal, at=utc_now()), refusal

    def _take(self, asked: Message, address: Address | None) -> None:
        key = self.key.used_from(str(address))
        requests = read_orders(
            asked,
            accession_field=self.settings.hl7_accession_field,
            secret=self.settings.pseudonym_secret,
        )
        # Two messages about the same orders take them in one order, and wait in no ring.
        requests = tuple(sorted(requests, key=lambda each: each.order.accession_number))
        self._carry_out(requests, key)
        _log.info("HL7 message taken", extra={"orders": len(requests)})

    def _carry_out(self, requests: Sequence[OrderRequest], key: ApiKey) -> None:
        numbers = [each.order.accession_number for each in requests if each.cancels]
        known = {number: find_order(self.sessions, number, tenant=key.tenant) for number in numbers}
        with self.sessions.begin() as session:
            for request in requests:
                try:
                    self._do(session, request, known, key)
                except OrderClosedError as error:
                    hint = "The order is claimed or completed."
                    raise request.orc.error(Condition.RECORD_LOCKED, 0, hint) from error
                except OrderExistsError as error:
                    hint = "Another sender's order has this number."
                    raise request.orc.error(Condition.DUPLICATE_KEY, 2, hint) from error

    def _do(
        self, session: Session, request: OrderRequest, known: dict[str, Order | None], key: ApiKey
    ) -> None:
        if not request.cancels:
            put(
                session,
                request.order,
                tenant=key.tenant,
                key_id=key.id,
                of_same_placer=True,
            )
            return
        order = known[request.order.accession_number]
        # What another sender placed, this one does not know.
        if order is None or order.placer not in (None, request.order.placer):
            raise request.orc.error(Condition.UNKNOWN_KEY, 2)
        take_back(session, order.id, tenant=key.tenant, key_id=key.id)


def _refusal(error: Exception) -> Refusal:
    """What a sender is told. No value of the message is in it."""
    if isinstance(error, Hl7Error):
        return Refusal.of(error)
    code = "database_unavailable" if is_outage(error) else _UNFORESEEN
    return Refusal(
        Condition.INTERNAL_ERROR, error.code if isinstance(error, HemotriageError) else code
    )
