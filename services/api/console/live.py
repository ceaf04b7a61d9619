"""Parts of a page that ask for themselves again: every two seconds, and cheaply."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, request

from services.api.console.rendering import page


def live(template: str, **shown: Any) -> str | Response:
    """A part of a page, or 204 where it would look as it does already.

    What was swapped for the same would take the focus away, and be read out again. A template of
    such a part asks with `seen=version`.

    Args:
        template: Of the part; it gets `version` besides what is shown.
        shown: All that the part is made of; its `repr` tells whether it has changed.
    """
    version = hashlib.sha256(repr(sorted(shown.items())).encode()).hexdigest()[:16]
    if request.args.get("seen") == version:
        return Response(status=204)
    return page(template, version=version, **shown)
