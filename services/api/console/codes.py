"""Codes of errors in words: those that the error tree has for clients, and the queues' own."""

from __future__ import annotations

import inspect
from functools import cache

from services.api.console.words import say
from shared.errors import HemotriageError
from shared.jobs.sweep import EXPIRED, LEASE_EXPIRED

_OF_QUEUES = {
    EXPIRED: "It waited for a worker until its time was over.",
    LEASE_EXPIRED: "Its worker fell silent.",
    "handed_back": "Its worker was stopped and gave it back.",
    "by_operator": "It was queued again by hand.",
    "import_abandoned": "The import was tried as often as allowed.",
    "training_abandoned": "The training was tried as often as allowed.",
    "gate_abandoned": "The gate was tried as often as allowed.",
}


def in_words(code: str) -> str:
    """What a code means, in the visitor's language; the code itself where no error has it."""
    return say(_OF_QUEUES.get(code) or _titles().get(code, code))


@cache
def _titles() -> dict[str, str]:
    """The text of each error by its code; of several with one code, the most general.

    Those of the API itself are about calls, and are left out: what is kept of a job is none.
    """
    titles: dict[str, str] = {}
    level: list[type[HemotriageError]] = [HemotriageError]
    while level:
        for kind in level:
            if kind.__module__.startswith("shared."):
                titles.setdefault(kind.code, inspect.getdoc(kind) or kind.code)
        level = [one for kind in level for one in kind.__subclasses__()]
    return titles
