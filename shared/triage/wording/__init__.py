"""Every sentence that a clinician reads, in one place: a module a language.

A result never says "normal", "no malignancy", "cancer detected" or "diagnosis" as a finding; it
says what the pattern is consistent with.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from shared.triage.wording.english import ENGLISH
from shared.triage.wording.indonesian import INDONESIAN
from shared.triage.wording.texts import Texts


class Language(StrEnum):
    """What a result can be read in; the values are ISO 639-1 codes."""

    ENGLISH = "en"
    INDONESIAN = "id"


TEXTS: dict[Language, Texts] = {Language.ENGLISH: ENGLISH, Language.INDONESIAN: INDONESIAN}

_BY_ENGLISH = {
    language: {
        **texts.policy,
        ENGLISH.disclaimer: texts.disclaimer,
        ENGLISH.limits: texts.limits,
    }
    for language, texts in TEXTS.items()
}
_WITHOUT_CODE = ("recommended_action", "timeline", "disclaimer", "limits")


def worded(document: Mapping[str, Any], language: Language) -> dict[str, Any]:
    """Put the texts of a language into the stored document of a result.

    Labels and reasons are worded by their codes, the rest by its English. What this release does
    not know, because an earlier or a later one wrote it, stays as it is.
    """
    images = [_worded(image, language) for image in document["images"]]
    return {**_worded(document, language), "images": images}


def _worded(part: Mapping[str, Any], language: Language) -> dict[str, Any]:
    texts, by_english = TEXTS[language], _BY_ENGLISH[language]
    said = {name: by_english.get(part[name], part[name]) for name in _WITHOUT_CODE if name in part}
    stored = dict(zip(part["reasons"], part.get("reason_texts", ()), strict=False))
    return {
        **part,
        **said,
        "display": texts.display.get(part["prediction"], part["display"]),
        "reason_texts": [
            texts.reasons.get(code, stored.get(code, code)) for code in part["reasons"]
        ],
    }
