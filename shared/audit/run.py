"""The loop that seals the audit trail and attests it; it runs in a thread of the relay."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from shared.audit.notary import Notary
from shared.audit.seal import Sealer
from shared.audit.signing import SigningKey
from shared.db.session import Sessions
from shared.errors import TransientError
from shared.settings import Settings
from shared.storage import ObjectStore

_log = logging.getLogger(__name__)


def run_sealing(
    settings: Settings, sessions: Sessions, storage: ObjectStore, stop: threading.Event
) -> None:
    """Seal and attest, pass after pass, until `stop` is set; what fails is done in a later pass.

    Args:
        settings: The intervals, and the key that signs.
        sessions: The database, with one connection for the loop.
        storage: Where checkpoints are kept besides.
        stop: Ends the loop.
    """
    secret = settings.audit_signing_key
    key = None if secret is None else SigningKey(secret.get_secret_value())
    seconds = settings.audit_checkpoint_seconds
    sealer = Sealer(sessions)
    notary = Notary(sessions, storage, key, checkpoint_seconds=seconds)
    attest_from = time.monotonic()
    while not stop.is_set():
        try:
            sealer.seal()
            if time.monotonic() >= attest_from and not notary.attest():
                attest_from = time.monotonic() + seconds
        except (SQLAlchemyError, TransientError) as error:
            _log.warning("the audit trail is sealed later", extra={"error": type(error).__name__})
        except Exception:  # the thread must outlive whatever one pass meets
            _log.exception("the audit trail is sealed later")
        stop.wait(settings.audit_seal_seconds)
