"""Whatever lies in the object store is told, and leaves a way out."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from shared.audit.anchors import Anchor, Anchors
from shared.audit.checkpoint import MOST_TAIL_BYTES, TAIL_KEY, Checkpoint
from shared.audit.export import FORMAT, verify_export
from shared.audit.set_aside import set_aside
from shared.storage import ObjectTooLargeError
from shared.storage.s3 import S3Store
from tests.integration.audit.trail import Trail, problems

GOOD = Checkpoint(12, bytes(32), "2026-01-01T00:00:00Z", "0" * 16, bytes(64)).document
ODD = [
    b"",
    b"{}",
    json.dumps(GOOD).encode().ljust(MOST_TAIL_BYTES + 1),
    *(
        json.dumps({**GOOD, name: value}).encode()
        for name, value in (("position", 10**30), ("key_id", {}), ("at", "\ud800"))
    ),
]


@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_a_newest_state_that_is_no_checkpoint_is_told_and_can_be_set_aside(
    attested: Trail, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    attested.storage.put(TAIL_KEY, io.BytesIO(data), len(data), "application/json")
    assert problems(attested.verify()) == [("malformed", None, None)]
    attested.notary = attested.new_notary()
    assert not attested.notary.attest()
    assert "nothing is attested" in caplog.text
    assert set_aside(attested.sessions, attested.storage) == 1
    attested.checkpoint()
    assert problems(attested.verify()) == []


def test_no_more_is_read_of_an_object_than_is_asked_for(storage: S3Store) -> None:
    storage.put("bounded", io.BytesIO(bytes(1001)), 1001, "application/json")
    assert storage.get("bounded", most_bytes=1001) == bytes(1001)
    with pytest.raises(ObjectTooLargeError):
        storage.get("bounded", most_bytes=1000)
    assert storage.get("bounded") == bytes(1001), "the connection is of use still"


def test_an_object_of_a_position_that_no_database_has_is_none_of_a_checkpoint(
    attested: Trail,
) -> None:
    key = f"audit/checkpoints/{2**63}-{'00' * 32}.json"
    attested.storage.put(key, io.BytesIO(b""), 0, "application/json")
    assert problems(attested.verify()) == []


@pytest.mark.parametrize("position", ["1e999", str(10**30)])
def test_a_file_of_impossible_positions_is_malformed(position: str) -> None:
    event = dict.fromkeys(("id", "at", "actor", "action", "job_id", "details"), "1")
    line = json.dumps({"position": 0, "hash": "00" * 32, "event": event})
    lines = [json.dumps({"format": FORMAT, "checkpoint": None})]
    lines += [line.replace('"position": 0', f'"position": {position}')]
    lines += [line.replace('"position": 0', f'"position": {10**30 + 1}')]
    assert "malformed" in [name for name, *_ in problems(verify_export(lines, None))]


def test_a_checkpoint_that_is_made_meanwhile_is_not_missed_in_the_store(
    attested: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    attested.write(1)
    attested.sealer.seal()
    listed = Anchors.of_store

    def list_then_go_on(self: Anchors, first: int) -> Iterator[Anchor]:
        found = list(listed(self, first))
        for events in (0, 1):
            attested.write(events)
            attested.checkpoint()
        yield from found

    monkeypatch.setattr(Anchors, "of_store", list_then_go_on)
    assert problems(attested.verify()) == []
