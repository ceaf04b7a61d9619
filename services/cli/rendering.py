"""Shows results and tables at a prompt, and in files."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from shared.client.answers import Answer
from shared.client.results import Result
from shared.triage.wording import Language
from shared.triage.wording.fields import reasons_to_read

_UNBOUND = 1_000_000
"""Columns of what is no terminal: no line is wrapped, and nothing in it cut."""


def stdout_console(*, width: int | None = None) -> Console:
    """Where a command prints its tables: values as they are, in a file as wide as they need.

    Args:
        width: Columns of a terminal; None: as many as it has.
    """
    console = Console(width=width, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNBOUND
    return console


def json_of(answer: Answer) -> str:
    """An answer of the service as JSON."""
    return json.dumps(answer.model_dump(mode="json"))


def result_table(result: Result, *, title: str) -> Table:
    """The triage result of a job as a table."""
    table = Table("triage result", "", title=title)
    probabilities = ", ".join(f"{label} {p:.3f}" for label, p in result.probabilities.items())
    models = ", ".join(
        f"{model.name}@{model.version} ({model.engine}, {model.precision})"
        for model in result.models
    )
    rows = {
        "prediction": result.display,
        "confidence": f"{result.confidence:.3f}",
        "P(malignant)": f"{result.p_malignant:.3f}",
        "probabilities": probabilities,
        "urgency": result.urgency,
        "recommended action": result.recommended_action,
        "timeline": result.timeline,
        "requires review": "yes" if result.requires_review else "no",
        "reasons": "\n".join(_reasons(result)) or "-",
        "images": str(len(result.images)),
        "model": models,
        "policy version": result.policy_version,
        "please note": result.disclaimer,
        "limits": result.limits,
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _reasons(result: Result) -> list[str]:
    texts = zip(result.reasons, reasons_to_read(result, Language.ENGLISH), strict=True)
    return [f"{code}: {text}" for code, text in texts]
