"""The relay looks for drift, and every process of the API shows what it found."""

from __future__ import annotations

import httpx

from shared.local.service import LocalService
from tests.waiting import eventually


def test_the_relay_looks_and_metrics_show_it(service: LocalService) -> None:
    service.ensure_alive()

    def is_shown() -> bool:
        answer = httpx.get(f"{service.url}/metrics", trust_env=False)
        assert answer.status_code == 200
        return "\nhemotriage_drift_window_end_timestamp_seconds " in answer.text

    eventually(is_shown)
