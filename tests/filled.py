"""Rows for every table, and the objects that they name: a database as a hospital has it.

A new table needs rows here; `fill` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from shared.backup.database import tables_of
from shared.storage import (
    artefact_key,
    explanation_key,
    image_key,
    training_image_key,
    upload_key,
)
from tests.filled_rows import STATUSES, content, job_id, made_id, rows, sha256

NO_ROWS: frozenset[str] = frozenset()
"""Tables that a migration fills by itself."""


def fill(connection: Connection, mark: int) -> None:
    """Put rows into every table that is there, with the columns that are there.

    Args:
        connection: At any revision.
        mark: Tells these rows from those of other calls.
    """
    made = rows(mark)
    for table in tables_of(connection).sorted_tables:
        assert table.name in made or table.name in NO_ROWS, f"tests/filled.py lacks {table.name}"
        for row in made.get(table.name, ()):
            there = {name: value for name, value in row.items() if name in table.columns}
            connection.execute(table.insert(), there)


def contents(mark: int) -> dict[str, bytes]:
    """The objects that the rows name, by their keys."""
    jobs = [job_id(mark, status) for status in STATUSES]
    picture = content("picture", mark)
    return {
        **{
            image_key(job, 0): content(f"image {status}", mark)
            for job, status in zip(jobs, STATUSES, strict=True)
        },
        explanation_key(job_id(mark, "succeeded"), 0, "gradcam", sha256(picture)): picture,
        training_image_key(sha256(content("field", mark))): content("field", mark),
        upload_key(made_id("dataset open", mark)): content("zip", mark),
        artefact_key(sha256(content("onnx", mark))): content("onnx", mark),
    }


def everything(connection: Connection) -> dict[str, list[Mapping[str, Any]]]:
    """Every row of every table, in an order that depends on the rows alone."""
    return {
        table.name: in_order(connection.execute(table.select()).mappings())
        for table in tables_of(connection).sorted_tables
    }


def in_order(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows in an order that depends on them alone."""
    return sorted(map(dict, rows), key=lambda row: json.dumps(row, default=str, sort_keys=True))
