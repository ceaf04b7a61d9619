"""Workitems as a PACS sends them, for tests."""

from __future__ import annotations

import json
from typing import Any

from pydicom.dataset import Dataset

from shared.interop.dicom.ups.read import (
    read_dataset,
)
from tests.dicom import settings_without_servers

SETTINGS = settings_without_servers()


def asked(**values: Any) -> Dataset:
    """A data set that may be created; a change to None leaves an attribute out."""
    request = Dataset()
    request.AccessionNumber = values.pop("accession", "A-1")
    known = {
        "ScheduledProcedureStepPriority": "MEDIUM",
        "ScheduledProcedureStepStartDateTime": "20260102",
        "ProcedureStepLabel": "Triage",
        "InputReadinessState": "INCOMPLETE",
        "ProcedureStepState": "SCHEDULED",
        "ReferencedRequestSequence": [request],
    }
    step = Dataset()
    step.update({name: value for name, value in (known | values).items() if value is not None})
    return read_dataset(json.dumps(step.to_json_dict()).encode())
