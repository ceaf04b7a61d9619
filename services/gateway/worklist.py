"""Answers C-FIND of the modality worklist from the orders that images are awaited of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom import evt

from services.gateway.keys import GatewayKey
from services.gateway.status import CANCELLED, PENDING, PENDING_WITHOUT_SOME_KEYS, refused
from shared import audit
from shared.auth.keys import Scope
from shared.db.session import Sessions
from shared.interop.dicom.stow import OUT_OF_RESOURCES
from shared.interop.dicom.worklist import WorklistQuery, item_of, read_query
from shared.orders.awaiting import awaited_orders
from shared.orders.entities import Order

MAX_ITEMS = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worklist:
    """Answers queries; safe to share between threads."""

    sessions: Sessions
    key: GatewayKey

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a query, an item at a time, until it is taken back.

        Where more than `MAX_ITEMS` match, the last status is A700: whoever got the first of them
        must not take them for all.
        """
        try:
            requestor = event.assoc.requestor
            key = self.key.used_from(requestor.address, scope=Scope.READ)
            caller = requestor.ae_title.strip()
            query = read_query(event.identifier, caller)
            orders = self._matching(query, key.tenant)
            items = [item_of(order, query) for order in orders[:MAX_ITEMS]]
            self._record(key.id, caller, len(items))
        except Exception as error:  # an association must get its answer, whatever went wrong
            yield refused(error), None
            return
        for item, is_whole in items:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING if is_whole else PENDING_WITHOUT_SOME_KEYS, item
        _log.info("worklist asked for", extra={"items": len(items)})
        if len(orders) > MAX_ITEMS:
            yield OUT_OF_RESOURCES, None

    def _matching(self, query: WorklistQuery, tenant: str) -> list[Order]:
        if query.criteria is None:
            return []
        return awaited_orders(self.sessions, query.criteria, tenant=tenant, limit=MAX_ITEMS + 1)

    def _record(self, key_id: str, caller: str, items: int) -> None:
        with self.sessions.begin() as session:
            audit.record(session, f"key:{key_id}", "worklist.read", caller=caller, items=items)
