"""Answers C-FIND of the modality worklist from the orders that images are awaited of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom import evt

from services.gateway.keys import GatewayKey
from services.gateway.status import CANCELLED, PENDING, PENDING_WITHOUT_SOME_KEYS, refused
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
            self.key.used_from(event.assoc.requestor.address, scope=Scope.READ)
            query = read_query(event.identifier, event.assoc.requestor.ae_title.strip())
            orders = self._matching(query)
        except Exception as error:  # an association must get its answer, whatever went wrong
            yield refused(error), None
            return
        for order in orders[:MAX_ITEMS]:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            item, is_whole = item_of(order, query)
            yield PENDING if is_whole else PENDING_WITHOUT_SOME_KEYS, item
        _log.info("worklist asked for", extra={"items": len(orders)})
        if len(orders) > MAX_ITEMS:
            yield OUT_OF_RESOURCES, None

    def _matching(self, query: WorklistQuery) -> list[Order]:
        if query.criteria is None:
            return []
        return awaited_orders(self.sessions, query.criteria, limit=MAX_ITEMS + 1)
