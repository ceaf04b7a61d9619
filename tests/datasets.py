"""Zips of drawn fields, and imports, for tests."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from PIL import Image

from services.trainer.imports import run_imports
from shared.db.session import Sessions
from shared.imaging import INPUT_SIZE
from shared.local.synthetic import draw_smear
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.triage.labels import LABELS
from tests.factories import encode
from tests.threads import in_a_thread
from tests.waiting import eventually

Files = dict[str, bytes]


def field(seed: int) -> bytes:
    """The file of a drawn field, with few cells."""
    return encode(draw_smear(seed, red_cells=15, nucleated_cells=5))


def overlapping_fields() -> tuple[bytes, bytes]:
    """Two fields of one slide that show the same area in part."""
    slide: Image.Image = draw_smear(99, size=2 * INPUT_SIZE, red_cells=150, nucleated_cells=20)
    boxes = [(x, y, x + INPUT_SIZE, y + INPUT_SIZE) for x, y in ((0, 0), (40, 50))]
    first, second = (encode(slide.crop(box)) for box in boxes)
    return first, second


def drawn(start: int = 1) -> Files:
    """One drawn field a class, by its name in a zip; other seeds draw other fields."""
    return {f"{label}/{start}.png": field(start + n) for n, label in enumerate(LABELS)}


def zipped(files: Files) -> bytes:
    """A zip of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def upload(client: FlaskClient, files: Files | bytes, **query: Any) -> Any:
    """Post a zip as the body."""
    data = files if isinstance(files, bytes) else zipped(files)
    return client.post(
        "/v1/datasets", data=data, content_type="application/zip", query_string=query
    )


@contextmanager
def importing(
    settings: Settings, sessions: Sessions, storage: S3Store, work: Path, **changes: Any
) -> Iterator[threading.Event]:
    """What a trainer imports with, for as long as the block runs; yields what stops it."""
    own = settings.model_copy(update={"trainer_work": work, **changes})
    with in_a_thread(run_imports, own, sessions, storage) as stop:
        yield stop


def ended(client: FlaskClient, dataset_id: object) -> dict[str, Any]:
    """Wait for the end of an import, and return the data set."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(client.get(f"/v1/datasets/{dataset_id}").json)
        return found["status"] in ("ready", "failed")

    eventually(has_ended)
    return found
