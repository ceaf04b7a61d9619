"""The language that a client reads results in."""

from __future__ import annotations

from flask import request

from shared.triage.wording import TEXTS, Language

_FORMER_TAGS = {"in": "id"}
"""ISO 639 called Indonesian `in` until 1989, and some Java clients still do."""


def chosen_language() -> Language:
    """The best of `Accept-Language` that there are texts in, else English.

    `id-ID` counts as `id` before anything that is less wanted, and of equals the first one wins:
    werkzeug's `best_match` looks for whole tags first, and at our order.
    """
    accepted = request.accept_languages
    primary = (tag.partition("-")[0].lower() for tag, quality in accepted if quality > 0)
    wanted = (_FORMER_TAGS.get(tag, tag) for tag in primary)
    return next((Language(tag) for tag in wanted if tag in TEXTS), Language.ENGLISH)


def language_headers(language: Language) -> dict[str, str]:
    """What an answer says of its language."""
    return {"Content-Language": language, "Vary": "Accept-Language"}
