"""Whose the reasons of a job are: it has those of all its fields, and its finding is of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from shared.triage.wording import TEXTS, Language
from shared.triage.wording.texts import Texts

_NAMED = 3
"""So many fields are named by their numbers; of more than that their count is told."""


class _Field(Protocol):
    @property
    def index(self) -> int: ...
    @property
    def reasons(self) -> Collection[str]: ...


class _Result(Protocol):
    @property
    def reasons(self) -> Sequence[str]: ...
    @property
    def reason_texts(self) -> Sequence[str]: ...
    @property
    def images(self) -> Sequence[_Field]: ...


def reasons_to_read(result: _Result, language: Language) -> list[str]:
    """The reasons of a job as somebody reads them: of several fields, each says whose it is.

    Fields count from 1, as in the console; `index` in the document counts from 0.

    Args:
        result: A job's, with its texts in the language.
        language: Of the fields' names.

    Returns:
        A text for each of `reasons`, in their order; those of the result where it is of one field.
    """
    fields = {field.index + 1: field.reasons for field in result.images}
    said = list(zip(result.reasons, result.reason_texts, strict=True))
    return reasons_of_fields(said, fields, language)


def reasons_of_fields(
    said: Sequence[tuple[str, str]], fields: Mapping[int, Collection[str]], language: Language
) -> list[str]:
    """As `reasons_to_read`, of what a list of jobs has of each.

    Args:
        said: Code and text of each of the job's reasons.
        fields: The codes of each field, by its number, from 1.
        language: Of the fields' names.
    """
    if len(fields) < 2:
        return [text for _, text in said]
    return [_told(code, text, fields, TEXTS[language]) for code, text in said]


def _told(code: str, text: str, fields: Mapping[int, Collection[str]], texts: Texts) -> str:
    numbers = [number for number, reasons in sorted(fields.items()) if code in reasons]
    whose = _whose(numbers, len(fields), texts)
    return f"{whose}: {text}" if whose else text


def _whose(numbers: Sequence[int], count: int, texts: Texts) -> str:
    """Empty where no field has it: a result of another release may say so."""
    if not numbers:
        return ""
    if len(numbers) == 1:
        return texts.one_field.format(n=numbers[0])
    if len(numbers) <= _NAMED:
        first = ", ".join(map(str, numbers[:-1]))
        return texts.named_fields.format(first=first, last=numbers[-1])
    counted = texts.all_fields if len(numbers) == count else texts.counted_fields
    return counted.format(n=len(numbers), all=count)
