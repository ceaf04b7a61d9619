"""Takes orders out of HL7 messages, and acknowledges them after the commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.keys import GatewayKey
from services.gateway.status import log_unforeseen
from shared.auth.hosts import Address
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.errors import ForbiddenError, HemotriageError, UnauthorizedError
from shared.interop.hl7.ack import Acknowledgement, Refusal, acknowledge
from shared.interop.hl7.orders import OrderRequest, read_orders
from shared.interop.hl7.read import Condition, Hl7Error, Message, read_message
from shared.orders.place import put, take_back
from shared.orders.queries import find_order
from shared.orders.states import OrderClosedError
from shared.outage import is_outage
from shared.settings import Settings

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
        asked, refusal = None, None
        try:
            asked = read_message(data)
            self._take(asked, address)
        except Exception as error:  # a sender must get its answer, whatever went wrong
            refusal = _refusal(error)
            if refusal.code == _UNFORESEEN:
                log_unforeseen(error)
            _log.warning("HL7 message refused", extra={"code": refusal.code})
        return acknowledge(asked, refusal, at=utc_now())

    def _take(self, asked: Message, address: Address | None) -> None:
        key_id = self.key.used_from(str(address)).id
        requests = read_orders(
            asked,
            accession_field=self.settings.hl7_accession_field,
            secret=self.settings.pseudonym_secret,
        )
        # Two messages about the same orders take them in one order, and wait in no ring.
        requests = tuple(sorted(requests, key=lambda each: each.order.accession_number))
        self._carry_out(requests, key_id)
        _log.info("HL7 message taken", extra={"orders": len(requests)})

    def _carry_out(self, requests: Sequence[OrderRequest], key_id: str) -> None:
        numbers = [each.order.accession_number for each in requests if each.cancels]
        known = {number: find_order(self.sessions, number) for number in numbers}
        with self.sessions.begin() as session:
            for request in requests:
                try:
                    if not request.cancels:
                        put(session, request.order, key_id=key_id)
                    elif (order := known[request.order.accession_number]) is None:
                        raise request.orc.error(Condition.UNKNOWN_KEY, 2)
                    else:
                        take_back(session, order.id, key_id=key_id)
                except OrderClosedError as error:
                    hint = "The order is claimed or completed."
                    raise request.orc.error(Condition.RECORD_LOCKED, 0, hint) from error


def _refusal(error: Exception) -> Refusal:
    """What a sender is told, and whether it is to try again. No value of the message is in it."""
    if isinstance(error, Hl7Error):
        return Refusal.of(error)
    is_away = is_outage(error)
    # A key that may not is no fault of the message: it is taken once the operator has seen to it.
    again = is_away or isinstance(error, (UnauthorizedError, ForbiddenError))
    code = "database_unavailable" if is_away else _UNFORESEEN
    return Refusal(
        Acknowledgement.ERROR if again else Acknowledgement.REJECT,
        Condition.INTERNAL_ERROR,
        error.code if isinstance(error, HemotriageError) else code,
    )
