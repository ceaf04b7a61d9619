"""What a clinician reads: whole in every language, and free of words that must never appear."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.settings import PROJECT_ROOT
from shared.triage.labels import LABELS, Label
from shared.triage.policy import POLICIES, Reason, decide
from shared.triage.wording import TEXTS, Language, worded
from shared.triage.wording.english import ENGLISH
from shared.triage.wording.indonesian import INDONESIAN

DISCLAIMER = "decision support; not a diagnosis; requires confirmation by a qualified haematologist"

FORBIDDEN = {
    Language.ENGLISH: (
        "normal",
        "healthy",
        "malignan",
        "cancer",
        "detected",
        "diagnos",
        "negative",
        "positive",
        "rule out",
        "ruled out",
        "exclude",
        "free of",
        "all clear",
        "certain that",
        "proven",
        "confirms",
    ),
    Language.INDONESIAN: (
        "normal",
        "sehat",
        "keganasan",
        "ganas",
        "kanker",
        "terdeteksi",
        "diagnos",
        "negatif",
        "positif",
        "menyingkirkan",
        "disingkirkan",
        "bebas",
        "terbukti",
        "dipastikan",
        "tidak ditemukan",
    ),
}
"""Parts of words that no text may have, by language."""

DENIALS = {
    Language.ENGLISH: {"disclaimer": "not a diagnosis", "limits": "not of healthy donors"},
    Language.INDONESIAN: {"disclaimer": "bukan diagnosis", "limits": "bukan dari donor sehat"},
}
"""The only places of a forbidden word, which deny it."""

CONSISTENT = {
    Language.ENGLISH: "pattern consistent with ",
    Language.INDONESIAN: "pola sesuai dengan ",
}

OF_A_CLINICIAN = (
    "consistent with",
    "not a diagnosis",
    "qualified haematologist",
    "specialist",
    "one microscope",
    "sesuai dengan",
    "bukan diagnosis",
    "dokter",
)
"""What gives a sentence for clinicians away, in the source of other modules."""


def policy_texts() -> set[str]:
    rows = {
        row
        for policy in POLICIES.values()
        for row in (*policy.rules, policy.otherwise, policy.flagged)
        if row is not None
    }
    return {text for row in rows for text in (row.recommended_action, row.timeline)}


def texts_of(language: Language) -> Iterator[tuple[str, str]]:
    """Every text of a language, with what it is."""
    texts = TEXTS[language]
    yield from (("display", text) for text in texts.display.values())
    yield from (("reason", text) for text in texts.reasons.values())
    yield from (("policy", texts.policy.get(text, text)) for text in policy_texts())
    yield from (("disclaimer", texts.disclaimer), ("limits", texts.limits))
    yield from (("fields", text) for text in (texts.one_field, texts.named_fields))
    yield from (("fields", text) for text in (texts.counted_fields, texts.all_fields))


def document(**changes: Any) -> dict[str, Any]:
    """A result of one image as it is stored, with what matters here."""
    decision = decide(Label.EARLY, 0.85, 0.99)
    image = {
        "prediction": Label.EARLY.value,
        "display": ENGLISH.display[Label.EARLY],
        "confidence": 0.85,
        "recommended_action": decision.recommended_action,
        "timeline": decision.timeline,
        "reasons": [reason.value for reason in decision.reasons],
        "reason_texts": [ENGLISH.reasons[reason] for reason in decision.reasons],
        **changes,
    }
    whole = {"disclaimer": ENGLISH.disclaimer, "limits": ENGLISH.limits}
    return {**image, **whole, **changes, "images": [image]}


def test_every_language_has_texts_and_every_check_has_every_language() -> None:
    assert set(TEXTS) == set(FORBIDDEN) == set(DENIALS) == set(CONSISTENT) == set(Language)


@pytest.mark.parametrize("language", Language)
def test_no_text_has_a_forbidden_word(language: Language) -> None:
    for kind, text in texts_of(language):
        denial = DENIALS[language].get(kind, "")
        assert denial in text
        said = text.replace(denial, "").lower()
        assert [word for word in FORBIDDEN[language] if word in said] == [], text


@pytest.mark.parametrize("language", Language)
def test_every_code_has_its_text(language: Language) -> None:
    texts = TEXTS[language]
    assert set(texts.display) == set(LABELS)
    assert set(texts.reasons) == set(Reason)
    for said in (texts.display, texts.reasons):
        assert len(set(said.values())) == len(said), "two codes say the same"
    assert all(text.strip() == text != "" for _, text in texts_of(language))


@pytest.mark.parametrize("language", [language for language in Language if language != "en"])
def test_every_row_of_every_policy_is_translated(language: Language) -> None:
    """English needs no translation: the tables are in it."""
    assert set(TEXTS[language].policy) == policy_texts()
    assert ENGLISH.policy == {}


@pytest.mark.parametrize("language", Language)
def test_a_finding_is_what_the_pattern_is_consistent_with(language: Language) -> None:
    findings = TEXTS[language].display.values()
    assert all(text.startswith(CONSISTENT[language]) for text in findings)


def test_the_texts_that_are_prescribed_stand_as_they_are() -> None:
    assert ENGLISH.disclaimer == DISCLAIMER
    assert policy_texts() == {
        "routine follow-up",
        "manual verification",
        "immediate specialist referral (haematology)",
        "priority review and confirmation",
        "manual review required, specialist consultation",
        "standard",
        "24-48 h",
        "immediate",
        "12-24 h",
        "24 h",
    }


def test_a_translated_timeline_names_the_same_hours() -> None:
    for text in policy_texts():
        if text.endswith(" h"):
            assert INDONESIAN.policy[text] == text.replace(" h", " jam")


def test_an_english_result_stays_as_it_is_stored() -> None:
    assert worded(document(), Language.ENGLISH) == document()


def test_a_result_is_worded_in_indonesian_and_no_code_or_number_changes() -> None:
    stored = document()
    result = worded(stored, Language.INDONESIAN)
    for part in (result, result["images"][0]):
        assert part["display"] == "pola sesuai dengan LLA Early Pre-B"
        assert part["recommended_action"] == "peninjauan dan konfirmasi dengan prioritas"
        assert part["timeline"] == "12-24 jam"
        assert part["reasons"] == ["low_confidence", "subtype_uncertain"]
        assert part["reason_texts"] == [INDONESIAN.reasons[code] for code in part["reasons"]]
        assert (part["prediction"], part["confidence"]) == ("Early", 0.85)
    assert (result["disclaimer"], result["limits"]) == (INDONESIAN.disclaimer, INDONESIAN.limits)
    assert set(result) == set(stored)
    assert stored == document(), "what is stored is left alone"


@pytest.mark.parametrize("language", Language)
def test_a_result_of_an_earlier_release_gets_its_reasons_explained(language: Language) -> None:
    earlier = document()
    del earlier["reason_texts"], earlier["images"][0]["reason_texts"]
    assert worded(earlier, language) == worded(document(), language)


@pytest.mark.parametrize("language", Language)
def test_what_is_not_known_stays_as_it_is(language: Language) -> None:
    other = document(
        prediction="Mixed",
        display="pattern consistent with two lineages",
        recommended_action="an action of another release",
        timeline="48-72 h",
        reasons=["low_confidence", "of_another_release"],
        reason_texts=["a text of another release", "why it was asked for"],
        disclaimer="a disclaimer of another release",
        limits="limits of another model",
    )
    explained = [TEXTS[language].reasons["low_confidence"], "why it was asked for"]
    expected = {**other, "reason_texts": explained}
    expected["images"] = [{**other["images"][0], "reason_texts": explained}]
    assert worded(other, language) == expected
    del other["reason_texts"]
    assert worded(other, language)["reason_texts"][1] == "of_another_release"


def test_no_other_module_has_a_sentence_for_clinicians() -> None:
    """The policy's table has its own, which are the keys of their translations."""
    wording = PROJECT_ROOT / "shared" / "triage" / "wording"
    policy = PROJECT_ROOT / "shared" / "triage" / "policy.py"
    found = [
        (str(path.relative_to(PROJECT_ROOT)), text)
        for folder in ("shared", "services")
        for path in sorted((PROJECT_ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".html") and wording not in path.parents and path != policy
        for text in strings(path)
        if any(re.search(rf"\b{words}", " ".join(text.split()).lower()) for words in OF_A_CLINICIAN)
    ]
    assert found == []


def strings(path: Path) -> list[str]:
    """A page as it is, or the strings of a module with its docstrings, which may be shown too."""
    if path.suffix == ".html":
        return [path.read_text()]
    tree = ast.parse(path.read_text())
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
