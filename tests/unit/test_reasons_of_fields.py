"""Of a job of several fields each reason says whose it is; of one field it stays as it was."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import pytest
from rich.console import Console

from services.cli.rendering import result_table
from shared.client.results import Result
from shared.triage.evidence import Evidence
from shared.triage.policy import Reason
from shared.triage.result import ModelReference, TriageResult, field_result, triage_result
from shared.triage.wording import TEXTS, Language, worded
from shared.triage.wording.english import ENGLISH
from shared.triage.wording.fields import reasons_of_fields, reasons_to_read

CLEAR, DOUBTFUL = (0.002, 0.005, 0.99, 0.003), (0.02, 0.13, 0.75, 0.1)
LOW = ENGLISH.reasons["low_confidence"]
MODEL = ModelReference(name="m", version=1, sha256="", engine="openvino", precision="f32")
WHOSE = {
    Language.ENGLISH: {
        (2,): "field 2: ",
        (2, 5): "fields 2 and 5: ",
        (1, 2, 5): "fields 1, 2 and 5: ",
        (1, 2, 3, 5): "4 of 6 fields: ",
        (1, 2, 3, 4, 5, 6): "all 6 fields: ",
        (): "",
    },
    Language.INDONESIAN: {
        (2,): "lapang pandang 2: ",
        (2, 5): "lapang pandang 2 dan 5: ",
        (1, 2, 5): "lapang pandang 1, 2 dan 5: ",
        (1, 2, 3, 5): "4 dari 6 lapang pandang: ",
        (1, 2, 3, 4, 5, 6): "semua 6 lapang pandang: ",
        (): "",
    },
}
"""What names the fields of a job of six, by their numbers."""
ROOM_IN_HL7 = 199
"""Of CWE.2, HL7 v2.5.1 chapter 2A."""


def result(*rows: tuple[float, ...]) -> TriageResult:
    fields = [
        field_result(index, Evidence(np.array(row, np.float32), np.array(row), unlikeness=0.5))
        for index, row in enumerate(rows)
    ]
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    return triage_result("j", fields, [MODEL], created_at=at, timings_ms={})


@pytest.mark.parametrize(
    ("language", "numbers", "whose"),
    [(language, *one) for language, said in WHOSE.items() for one in said.items()],
)
def test_a_reason_names_its_fields(
    language: Language, numbers: tuple[int, ...], whose: str
) -> None:
    fields = {n: ["low_confidence"] if n in numbers else ["out_of_focus"] for n in range(1, 7)}
    assert reasons_of_fields([("low_confidence", "why")], fields, language) == [f"{whose}why"]


@pytest.mark.parametrize("language", Language)
def test_the_one_field_of_a_job_is_not_named(language: Language) -> None:
    stored = worded(result(DOUBTFUL).model_dump(mode="json"), language)
    read = TriageResult.model_validate(stored)
    assert len(read.reasons) == 2
    assert reasons_to_read(read, language) == read.reason_texts


def test_a_doubt_about_one_field_is_told_from_the_finding_of_another() -> None:
    found = result(CLEAR, DOUBTFUL)
    assert (found.urgency, found.confidence) == ("urgent", pytest.approx(0.99))
    assert f"field 2: {LOW}" in reasons_to_read(found, Language.ENGLISH)
    assert LOW in found.reason_texts, "the document has the texts of the codes alone"


def test_every_text_has_room_in_hl7() -> None:
    fields = {n: list(Reason) if n in (998, 999, 1000) else [] for n in range(1, 1001)}
    for language, texts in TEXTS.items():
        for text in reasons_of_fields([*texts.reasons.items()], fields, language):
            assert len(text) <= ROOM_IN_HL7


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((CLEAR, DOUBTFUL), f"low_confidence: field 2: {LOW}"),
        ((DOUBTFUL,), f"low_confidence: {LOW}"),
    ],
)
def test_a_prompt_says_whose_a_reason_is(rows: tuple[tuple[float, ...], ...], said: str) -> None:
    answer = Result.model_validate(result(*rows).model_dump(mode="json"))
    written = io.StringIO()
    Console(file=written, width=250).print(result_table(answer, title=""))
    cells = [line.split("│")[2].strip() for line in written.getvalue().splitlines() if "│" in line]
    assert said in cells
